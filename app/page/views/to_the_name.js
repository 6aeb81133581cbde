() => {
  const go = (left) => { // the panel takes a moment to unfold
    const box = document.querySelector('#names-name textarea, #names-name input');
    box?.focus();
    if (left && document.activeElement !== box) setTimeout(go, 50, left - 1);
  };
  go(40);
}
