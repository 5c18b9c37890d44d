// The price panel: joins the ticker's group and draws what it hears.

export const TICKER = "demo:ticker";

const MOST_PRICES = 60;
const WIDTH = 320;
const HEIGHT = 72;
const MARGIN = 5; // so that the line and its last dot are not cut off

export class Ticker {
  #group = null;
  #prices = [];
  #elements;
  paused = false;

  constructor(elements) {
    this.#elements = elements;
    elements.toggle.addEventListener("click", () => this.toggle());
  }

  /** Listen by this client, from now on and whenever that comes back. */
  async join(client, isRecovered) {
    const group = client.group(TICKER);
    if (this.#group !== group) {
      this.#group = group;
      group.addEventListener("message", ({ detail }) => this.#show(detail.data ?? {}, isRecovered(detail)));
    }
    if (!this.paused) await group.join();
  }

  async toggle() {
    this.paused = !this.paused;
    this.#elements.toggle.textContent = this.paused ? "Resume" : "Pause";
    if (this.paused) await this.#group?.leave();
    else await this.#group?.join().catch(() => {}); // joined with the next connection
  }

  #show({ symbol, price }, recovered) {
    if (!(typeof price === "number" && price > 0)) return; // anybody may publish to this group
    this.#prices.push({ price, recovered });
    if (this.#prices.length > MOST_PRICES) this.#prices.shift();
    this.#elements.symbol.textContent = symbol;
    this.#elements.price.textContent = price.toFixed(2);
    this.#showChange();
    this.#draw();
  }

  #showChange() {
    const count = this.#prices.length;
    if (count < 2) return;
    const [first, last] = [this.#prices[0].price, this.#prices.at(-1).price];
    const percent = ((last - first) / first) * 100;
    this.#elements.change.textContent = `${percent < 0 ? "▼" : "▲"} ${Math.abs(percent).toFixed(2)} %`;
    this.#elements.change.dataset.direction = percent < 0 ? "down" : "up";
    const recovered = this.#prices.filter((each) => each.recovered).length;
    this.#elements.window.textContent = `in ${count} messages${recovered ? `, ${recovered} recovered` : ""}`;
  }

  #draw() {
    const { sparkline, line, area, dot, recovered } = this.#elements;
    const prices = this.#prices.map((each) => each.price);
    const points = sparklinePoints(prices);
    const [x, y] = points.at(-1);
    line.setAttribute("points", points.join(" "));
    area.setAttribute("points", [[points[0][0], HEIGHT], ...points, [x, HEIGHT]].join(" "));
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    // What came while the page was cut off is drawn with a dot each.
    recovered.replaceChildren(...points.filter((_, n) => this.#prices[n].recovered).map(asDot));
    const [low, high] = [Math.min(...prices), Math.max(...prices)];
    sparkline.setAttribute(
      "aria-label",
      `The last ${prices.length} prices, between ${low.toFixed(2)} and ${high.toFixed(2)}`,
    );
  }
}

function asDot([x, y]) {
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of Object.entries({ cx: x, cy: y, r: 2.5 })) dot.setAttribute(name, value);
  return dot;
}

/** Prices as [x, y], the newest at the right edge, the range of prices filling the height. */
function sparklinePoints(prices) {
  const low = Math.min(...prices);
  const range = Math.max(...prices) - low || 1;
  const step = (WIDTH - 2 * MARGIN) / (MOST_PRICES - 1);
  const left = WIDTH - MARGIN - step * (prices.length - 1);
  return prices.map((price, index) => [
    round(left + step * index),
    round(MARGIN + (HEIGHT - 2 * MARGIN) * (1 - (price - low) / range)),
  ]);
}

function round(number) {
  return Math.round(number * 10) / 10;
}
