// Listen as a radio: print each text and slide of a channel, by STOMP 1.2 over a socket, until Ctrl-C.
//   cc -o listen listen.c && ./listen 127.0.0.1 61613 /topic/fm/4e1/4000/09580/
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SILENCE = 25, PAUSE = 5, LONGEST = 1024 };  // seconds: two missed heart-beats; before it connects again; octets

static FILE *dial(const char *host, const char *port) {
    struct addrinfo *all, hints = {.ai_socktype = SOCK_STREAM};
    int connection = -1;
    if (getaddrinfo(host, port, &hints, &all)) return NULL;
    for (struct addrinfo *each = all; each && connection < 0; each = each->ai_next) {
        connection = socket(each->ai_family, each->ai_socktype, 0);
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = SILENCE}, sizeof(struct timeval));
        if (connect(connection, each->ai_addr, each->ai_addrlen)) close(connection), connection = -1;
    }
    freeaddrinfo(all);
    return connection < 0 ? NULL : fdopen(connection, "r");
}

static void print(FILE *out, const char *text, int escaped) {
    for (char found; (found = *text); text++) {
        if (escaped && found == '\\' && text[1]) found = *++text == 'c' ? ':' : *text;
        putc((unsigned char)found < ' ' || found == 127 ? ' ' : found, out);  // nothing that controls a terminal
    }
}

static void listen_to(FILE *server, const char *host, const char *channel) {
    static char *line, link[LONGEST], body[LONGEST + 1]; static size_t size;
    dprintf(fileno(server), "CONNECT\naccept-version:1.2\nhost:%s\nheart-beat:0,10000\n\n%c", host, 0);
    while (fscanf(server, " ") != EOF && getline(&line, &size, server) > 0) {  // line ends between are heart-beats
        long command = *line, length = 0, count = 0, octet;
        for (*link = 0; getline(&line, &size, server) > 1;)
            if (sscanf(line, "content-length:%ld", &length) != 1 && !*link) sscanf(line, "link:%1023[^\n]", link);
        for (; (octet = getc(server)) != EOF && (octet || count < length); count++)
            if (count < LONGEST) body[count] = octet;
        body[count < LONGEST ? count : LONGEST] = 0;
        FILE *out = command == 'E' ? stderr : stdout;
        for (int i = 0; command == 'C' && i < 2; i++)  // CONNECTED
            dprintf(fileno(server), "SUBSCRIBE\nid:%d\ndestination:%s%s\n\n%c", i, channel, i ? "image" : "text", 0);
        if (octet != EOF && (command == 'E' || !strncmp(body, "TEXT ", 5) || !strncmp(body, "SHOW ", 5)))
            print(out, body, 0), print(out, *link ? " " : "", 0), print(out, link, 1), fputs("\n", out);
    }
}

int main(int count, char **words) {
    if (count != 4) return fprintf(stderr, "usage: listen HOST PORT CHANNEL\n"), 2;
    unsigned seed;
    signal(SIGPIPE, SIG_IGN), setvbuf(stdout, NULL, _IOLBF, 0), getentropy(&seed, sizeof seed), srand(seed);
    for (;; sleep(rand() % PAUSE + 1)) {  // at random, so that not all radios come back at once
        FILE *server = dial(words[1], words[2]);
        if (server) listen_to(server, words[1], words[3]), fclose(server);
        fprintf(stderr, "no connection to %s\n", words[1]);
    }
}
