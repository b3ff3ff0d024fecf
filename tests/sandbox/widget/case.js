// Shows the tag that is behind the # of the address.
const tag = decodeURIComponent(location.hash.slice(1));
document.querySelector('code').textContent = tag;
document.querySelector('.id').textContent = tag.split('/').pop();
