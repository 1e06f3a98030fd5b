// What carries a client's octets: TCP, TLS over it (no certificate is checked), or a WebSocket (RFC 6455).
#include <errno.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum carrier { TCP, TLS, WEBSOCKET };

typedef struct {
  int fd;
  enum carrier by;
  SSL *tls;
  unsigned char head[10]; // of the WebSocket frame that begins, as far as it has come
  int have;
  uint64_t left; // octets still to come of its content
} line_t;

static void put_plainly(int fd, const char *b, size_t k) {
  while (k) {
    ssize_t r = write(fd, b, k);
    if (r < 0) {
      if (errno == EAGAIN) { usleep(100); continue; }
      perror("write");
      exit(2);
    }
    b += r;
    k -= r;
  }
}

// One binary message; the mask is all zeros, so the content stays as it is.
static void put_message(int fd, const char *b, size_t k) {
  char out[8 + 4096] = {(char)0x82};
  if (k > 4096) { fprintf(stderr, "too long for a message: %zu\n", k); exit(2); }
  size_t head = 6;
  if (k < 126) out[1] = 0x80 | k;
  else {
    head = 8;
    out[1] = (char)(0x80 | 126);
    out[2] = k >> 8;
    out[3] = k;
  }
  memcpy(out + head, b, k);
  put_plainly(fd, out, head + k);
}

static void put(line_t *l, const char *b, size_t k) {
  if (l->by == TLS) {
    if (SSL_write(l->tls, b, k) <= 0) { fprintf(stderr, "TLS: cannot write\n"); exit(2); }
  } else if (l->by == WEBSOCKET) put_message(l->fd, b, k);
  else put_plainly(l->fd, b, k);
}

// Leaves of what has come over a WebSocket the content of its frames; how much that is.
static size_t strip(line_t *l, char *b, size_t k) {
  size_t kept = 0;
  for (char *p = b, *end = b + k; p < end;) {
    if (l->left) {
      size_t part = l->left < (uint64_t)(end - p) ? l->left : (size_t)(end - p);
      memmove(b + kept, p, part);
      kept += part;
      p += part;
      l->left -= part;
      continue;
    }
    l->head[l->have++] = *p++;
    if (l->have < 2) continue;
    int length = l->head[1] & 127, whole = length == 126 ? 4 : length == 127 ? 10 : 2;
    if (l->have < whole) continue;
    l->left = whole == 2 ? length : 0;
    for (int i = 2; i < whole; i++) l->left = l->left << 8 | l->head[i];
    l->have = 0;
  }
  return kept;
}

// As much as fits: OpenSSL must not keep a part of a record for which there was no room, as epoll knows nothing of it.
static ssize_t take_decrypted(line_t *l, char *b, size_t room) {
  size_t k = 0;
  int r = 1;
  while ((!k || room - k >= SSL3_RT_MAX_PLAIN_LENGTH) && (r = SSL_read(l->tls, b + k, room - k)) > 0) {
    k += r;
    if (room < SSL3_RT_MAX_PLAIN_LENGTH) break;
  }
  if (k) return k;
  errno = EAGAIN;
  return SSL_get_error(l->tls, r) == SSL_ERROR_WANT_READ ? -1 : 0;
}

// As read(2): -1 and EAGAIN where nothing has come that counts, 0 at the end.
static inline ssize_t take(line_t *l, char *b, size_t room) {
  if (l->by == TLS) return take_decrypted(l, b, room);
  ssize_t r = read(l->fd, b, room);
  if (r <= 0 || l->by == TCP) return r;
  size_t kept = strip(l, b, r);
  errno = EAGAIN;
  return kept ? (ssize_t)kept : -1;
}

static void encrypt(line_t *l) {
  static SSL_CTX *context;
  if (!context) context = SSL_CTX_new(TLS_client_method());
  l->tls = SSL_new(context);
  SSL_set_fd(l->tls, l->fd);
  if (SSL_connect(l->tls) <= 0) { fprintf(stderr, "TLS: no handshake\n"); exit(2); }
  l->by = TLS;
}

static void upgrade(line_t *l, const char *host, const char *path) {
  char b[4096];
  size_t k = snprintf(b, sizeof b,
      "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n", path, host);
  put_plainly(l->fd, b, k);
  for (k = 0; k < 4 || memcmp(b + k - 4, "\r\n\r\n", 4); k++)
    if (k == sizeof b || read(l->fd, b + k, 1) != 1) { fprintf(stderr, "no handshake: %.*s\n", (int)k, b); exit(2); }
  if (memcmp(b, "HTTP/1.1 101", 12)) { fprintf(stderr, "refused: %.*s\n", (int)k, b); exit(2); }
  l->by = WEBSOCKET;
}
