// Asks a person for the server's key.

// Resolves to the key, or to null where the person gave none. `wrong`: the last one was not accepted.
export function askForKey(dialog, wrong) {
  const form = dialog.querySelector("form");
  const input = dialog.querySelector("input");
  const error = dialog.querySelector("[role=alert]");
  const cancel = dialog.querySelector("[type=button]");
  input.value = "";
  error.textContent = wrong ? "The server did not accept this key." : "";
  dialog.showModal();
  input.focus();
  return new Promise((done) => {
    const listening = new AbortController();
    const { signal } = listening;
    const answer = (key) => {
      listening.abort();
      dialog.close();
      input.value = "";
      done(key);
    };
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        const key = input.value.trim();
        if (/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(key)) answer(key);
        else error.textContent = "A key has letters, digits and signs of ASCII only.";
      },
      { signal },
    );
    cancel.addEventListener("click", () => answer(null), { signal });
    dialog.addEventListener("cancel", () => answer(null), { signal });
  });
}
