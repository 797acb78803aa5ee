// A file with one specification of calls comes in (argument 1); one line of JSON a call, with its body's file, goes out.
// It speaks as SDKs for Go do: net/http with the default transport, which agrees on HTTP/2 where the server offers it.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

type request struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

type specification struct {
	Client      string  `json:"client"`
	Count       int     `json:"count"`
	Concurrency int     `json:"concurrency"`
	Phases      int     `json:"phases"`
	TimeoutSecs int     `json:"timeout_secs"`
	Request     request `json:"request"`
}

// line is one call in the words that curl's script uses.
type line struct {
	Status   string `json:"status"`
	Exit     int    `json:"exit"`
	Protocol string `json:"protocol"`
	File     string `json:"file"`
}

func newClient(spec specification) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if strings.HasSuffix(spec.Client, "-h1") {
		transport.ForceAttemptHTTP2 = false
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		transport.TLSClientConfig = &tls.Config{NextProtos: []string{"http/1.1"}}
	}
	return &http.Client{Transport: transport, Timeout: time.Duration(spec.TimeoutSecs) * time.Second}
}

func call(client *http.Client, spec specification, file string) line {
	seen := line{Status: "000", File: file}
	message, err := http.NewRequest("POST", spec.Request.URL, strings.NewReader(spec.Request.Body))
	if err != nil {
		return line{Status: "000", Exit: 3, File: file}
	}
	for name, value := range spec.Request.Headers {
		message.Header.Set(name, value)
	}
	answer, err := client.Do(message)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		seen.Exit = 56
		return seen
	}
	defer answer.Body.Close()
	seen.Status = fmt.Sprint(answer.StatusCode)
	seen.Protocol = strings.TrimPrefix(strings.TrimSuffix(answer.Proto, ".0"), "HTTP/")
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		seen.Exit = 18
	}
	if os.WriteFile(file, body, 0o600) != nil {
		seen.Exit = 23
	}
	return seen
}

func phase(client *http.Client, spec specification, folder string, number int) {
	var calls sync.WaitGroup
	var output sync.Mutex
	places := make(chan struct{}, spec.Concurrency)
	for at := 0; at < spec.Count; at++ {
		calls.Add(1)
		places <- struct{}{}
		go func(file string) {
			defer calls.Done()
			seen, _ := json.Marshal(call(client, spec, file))
			output.Lock()
			fmt.Println(string(seen))
			output.Unlock()
			<-places
		}(filepath.Join(folder, fmt.Sprintf("answer.%d.%d", number, at)))
	}
	calls.Wait()
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	spec := specification{}
	if err := json.Unmarshal(text, &spec); err != nil {
		panic(err)
	}
	client := newClient(spec)
	folder := filepath.Dir(os.Args[1])
	phase(client, spec, folder, 1)
	if spec.Phases > 1 {
		fmt.Println("ready")
		bufio.NewReader(os.Stdin).ReadString('\n')
		phase(client, spec, folder, 2)
	}
	fmt.Println(`{"calls":"above"}`)
	client.CloseIdleConnections()
}
