// Keeps the end of the conversation in view, until the reader scrolls up; and again when the reader is back at the end.

const NEAR = 40;

export class Scrolling {
  constructor(scroller, jump) {
    this.scroller = scroller;
    this.jump = jump;
    this.sticks = true;
    this.last = 0;
    scroller.addEventListener("scroll", () => this.#moved(), { passive: true });
    jump.addEventListener("click", () => {
      this.toEnd();
      scroller.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.follow()).observe(scroller);
  }

  // The content has grown.
  follow() {
    if (this.sticks) this.#down();
    else this.jump.hidden = this.#atEnd();
  }

  toEnd() {
    this.sticks = true;
    this.jump.hidden = true;
    this.#down();
  }

  #down() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.last = this.scroller.scrollTop;
  }

  #atEnd() {
    const { scrollHeight, clientHeight, scrollTop } = this.scroller;
    return scrollHeight - clientHeight - scrollTop < NEAR;
  }

  #moved() {
    // Only a move up is the reader's wish: content that grew is no move.
    if (this.#atEnd()) this.sticks = true;
    else if (this.scroller.scrollTop < this.last) this.sticks = false;
    this.last = this.scroller.scrollTop;
    this.jump.hidden = this.sticks;
  }
}
