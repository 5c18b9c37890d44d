// What has to happen later, unless all of it is called off.

import { LONGEST } from "./limits.js";

type Timer = ReturnType<typeof setTimeout>;

export class Timers {
  private _set = new Set<Timer>();

  later(ms: number, act: () => void): void {
    const timer: Timer = setTimeout(
      () => {
        this._set.delete(timer);
        act();
      },
      Math.min(ms, LONGEST),
    );
    this._set.add(timer);
  }

  clear(): void {
    for (const timer of this._set) clearTimeout(timer);
    this._set.clear();
  }
}
