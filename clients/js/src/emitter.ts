// Events as every EventTarget has them, whose handlers cannot stop the stream.

/** What is called with an event: what that is about is `event.detail`. */
export type Handler<T> = ((event: CustomEvent<T>) => unknown) | EventListenerObject | null;

/** An EventTarget with known events. A handler that fails changes nothing for the others: `_failed` is told. */
export abstract class Emitter<Events> extends EventTarget {
  /** The types that somebody has listened to. @internal */
  readonly _heard = new Set<string>();
  private _wrapped = new WeakMap<object, EventListener>();

  /** Told of what a handler threw, or of the promise that it returned and that was rejected. @internal */
  abstract _failed(error: unknown, event: CustomEvent): void;

  /** Told that there is one handler more. @internal */
  _onHeard?(): void;

  override addEventListener<K extends keyof Events & string>(
    type: K,
    handler: Handler<Events[K]>,
    options?: boolean | AddEventListenerOptions,
  ): void {
    super.addEventListener(type, this._wrap(handler), options);
    this._heard.add(type);
    this._onHeard?.();
  }

  override removeEventListener<K extends keyof Events & string>(
    type: K,
    handler: Handler<Events[K]>,
    options?: boolean | EventListenerOptions,
  ): void {
    super.removeEventListener(type, this._wrap(handler), options);
  }

  /** Call the handlers, one after another. @internal */
  _emit<K extends keyof Events & string>(type: K, detail: Events[K]): void {
    if (this._heard.has(type)) this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Left alone, a handler's error would end a whole Node process, and so would its rejected promise.
  private _wrap(handler: Handler<any>): EventListener | EventListenerObject | null {
    if (typeof handler !== "function") return handler;
    let wrapped = this._wrapped.get(handler);
    if (!wrapped) {
      wrapped = async (event) => {
        try {
          await handler.call(this, event as CustomEvent);
        } catch (error) {
          this._failed(error, event as CustomEvent);
        }
      };
      this._wrapped.set(handler, wrapped);
    }
    return wrapped;
  }
}
