// The price panel: joins the ticker's group and draws what it hears.

export const TICKER = "demo:ticker";

const MOST_PRICES = 60;
const WIDTH = 320;
const HEIGHT = 72;
const MARGIN = 5; // so that the line and its last dot are not cut off

export class Ticker {
  #connection;
  #prices = [];
  #elements;
  paused = false;

  constructor(connection, elements) {
    this.#connection = connection;
    this.#elements = elements;
    elements.toggle.addEventListener("click", () => this.toggle());
  }

  /** Join the ticker's group; without a reply to wait for, since the prices themselves are the answer. */
  join() {
    if (!this.paused) this.#connection.send("join_group", { group_name: TICKER });
  }

  toggle() {
    this.paused = !this.paused;
    this.#elements.toggle.textContent = this.paused ? "Resume" : "Pause";
    if (this.paused) this.#connection.send("leave_group", { group_name: TICKER });
    else this.join();
  }

  show({ symbol, price }) {
    if (!(typeof price === "number" && price > 0)) return; // anybody may publish to this group
    this.#prices.push(price);
    if (this.#prices.length > MOST_PRICES) this.#prices.shift();
    this.#elements.symbol.textContent = symbol;
    this.#elements.price.textContent = price.toFixed(2);
    this.#showChange();
    this.#draw();
  }

  #showChange() {
    const count = this.#prices.length;
    if (count < 2) return;
    const [first, last] = [this.#prices[0], this.#prices.at(-1)];
    const percent = ((last - first) / first) * 100;
    this.#elements.change.textContent = `${percent < 0 ? "▼" : "▲"} ${Math.abs(percent).toFixed(2)} %`;
    this.#elements.change.dataset.direction = percent < 0 ? "down" : "up";
    this.#elements.window.textContent = `in ${count} messages`;
  }

  #draw() {
    const { sparkline, line, area, dot } = this.#elements;
    const points = sparklinePoints(this.#prices);
    const [x, y] = points.at(-1);
    line.setAttribute("points", points.join(" "));
    area.setAttribute("points", [[points[0][0], HEIGHT], ...points, [x, HEIGHT]].join(" "));
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    const [low, high] = [Math.min(...this.#prices), Math.max(...this.#prices)];
    sparkline.setAttribute(
      "aria-label",
      `The last ${this.#prices.length} prices, between ${low.toFixed(2)} and ${high.toFixed(2)}`,
    );
  }
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
