/* An address and a file come in; the file's bytes are said to port 443 of the address, and what came of it goes out as JSON. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int main(int count, char **words) {
    char bytes[16384], heard[1];
    struct timeval limit = {20, 0};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(443)};
    if (count < 3 || inet_pton(AF_INET, words[1], &to.sin_addr) != 1) return 1;
    int file = open(words[2], O_RDONLY);
    ssize_t length = read(file, bytes, sizeof bytes);
    if (length <= 0) return 1;
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(stream, (struct sockaddr *)&to, sizeof to) != 0 ||
        send(stream, bytes, length, MSG_NOSIGNAL) != length) {
        printf("{\"errno\": %d}\n", errno);
        return 0;
    }
    ssize_t answer = recv(stream, heard, sizeof heard, 0);
    printf("{\"answered\": %zd, \"errno\": %d}\n", answer > 0 ? answer : 0, answer < 0 ? errno : 0);
    return 0;
}
