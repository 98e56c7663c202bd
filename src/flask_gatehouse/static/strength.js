// A hint while a new password is typed: how hard it would be to guess, as far as its form tells. What is typed stays in
// this page. The hint is no rule, and knows no list of words: what is refused, the server says.
"use strict";

(() => {
  const PAUSE = 600; // milliseconds without a key before anything is said, so that nothing talks into the typing
  const LONGEST = 1024; // of what was pasted no more is read
  const LOOKED_AT = 128; // characters: those behind them only make it better
  const SIDE_BY_SIDE = "1234567890 qwertyuiop asdfghjkl zxcvbnm 1qaz 2wsx 3edc 4rfv 5tgb 6yhn 7ujm abcdefghijklmnopqrstuvwxyz";
  const BACKWARDS = [...SIDE_BY_SIDE].reverse().join("");
  const YEAR = /(?:19|20)\d\d/g;
  const FAIR = 32; // bits
  const STRONG = 45;
  const WORDS = {
    short: (least) => `Too short: ${least} characters at least.`,
    easy: () => "Easy to guess: make it longer, best by more words.",
    fair: () => "Fair: one more word makes it hard to guess.",
    strong: () => "Hard to guess, as far as its form tells.",
  };

  const isBeside = (one, next) => one === next || SIDE_BY_SIDE.includes(one + next) || BACKWARDS.includes(one + next);

  function kindOf(sign) {
    if (/\p{Lu}/u.test(sign)) return "capital";
    if (/\p{L}/u.test(sign)) return sign > "\u2e7f" ? "ideograph" : "letter";
    return /\p{N}/u.test(sign) ? "digit" : sign === " " ? "blank" : "sign";
  }

  // What a sign adds: a letter what it adds to a word, not what it would at random.
  const BITS = { capital: 2, letter: 2, ideograph: 8, digit: 3.3, blank: 1, sign: 4 };

  function bitsOf(signs) {
    const folded = signs.map((sign) => sign.toLowerCase());
    return signs.reduce((sum, sign, at) => {
      const kind = kindOf(sign);
      const goesOn = at > 1 && isBeside(folded[at - 2], folded[at - 1]) && isBeside(folded[at - 1], folded[at]);
      if (goesOn) return sum + 0.5;
      const before = at ? kindOf(signs[at - 1]) : kind;
      const isTurn = before !== kind && !(before === "capital" && kind === "letter");
      return sum + BITS[kind] + (isTurn ? 1.5 : 0);
    }, 0);
  }

  // The part that a text repeats from its beginning to its end: all of it where there is none.
  function repeatedPart(signs) {
    for (let length = 1; length <= signs.length / 2; length += 1) {
      if (signs.every((sign, at) => sign === signs[at % length])) return signs.slice(0, length);
    }
    return signs;
  }

  function without(text, name) {
    const at = text.toLowerCase().indexOf(name);
    return at < 0 ? text : text.slice(0, at) + without(text.slice(at + name.length), name);
  }

  // What one is called adds nothing: the login name, and the address before its `@`.
  function withoutNames(password, { username, email }) {
    const names = [username?.value, email?.value.split("@")[0]].filter((name) => name && name.length > 2);
    return names.reduce((text, name) => without(text, name.toLowerCase()), password);
  }

  function levelOf(password, least, fields) {
    if ([...password].length < least) return "short";
    const signs = [...withoutNames(password, fields).replace(YEAR, "0")];
    const bits = bitsOf(repeatedPart(signs.slice(0, LOOKED_AT)));
    return bits < FAIR ? "easy" : bits < STRONG ? "fair" : "strong";
  }

  function addHint(input) {
    const hint = document.createElement("p");
    hint.id = `${input.id}-strength`;
    hint.className = "gh-strength";
    hint.setAttribute("aria-live", "polite");
    (input.closest(".gh-control") ?? input).after(hint);
    const described = input.getAttribute("aria-describedby");
    input.setAttribute("aria-describedby", described ? `${described} ${hint.id}` : hint.id);

    const tell = () => {
      const password = input.value.slice(0, LONGEST).normalize("NFC");
      const level = password ? levelOf(password, input.minLength, input.form.elements) : "";
      hint.dataset.level = level;
      const text = level ? WORDS[level](input.minLength) : "";
      if (hint.textContent !== text) hint.textContent = text; // said once, not with every pause
    };
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(tell, PAUSE);
    });
  }

  document.querySelectorAll("input[data-strength]").forEach(addHint);
})();
