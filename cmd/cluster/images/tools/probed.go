package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// stamp appends milliseconds since 1970, a line each time, so that others can see
// when just this program ran. Only SIGKILL ends it.
func stamp(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: stamp FILE")
	}
	signal.Ignore(syscall.SIGTERM)
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for now := time.Now(); ; now = <-tick.C {
		if _, err := fmt.Fprintln(f, now.UnixMilli()); err != nil {
			return err
		}
	}
}

// health is a server of grpc.health.v1.Health/Check, by the protocol "gRPC over
// HTTP2": a message is a byte that says that it is not compressed, its length in
// four bytes, and itself; the status follows as a trailer.
func health() error {
	server := &http.Server{Addr: ":7001", Handler: http.HandlerFunc(check), ReadHeaderTimeout: 5 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.ListenAndServe()
}

func check(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if r.URL.Path != "/grpc.health.v1.Health/Check" {
		w.Header().Set("Grpc-Status", "12") // unimplemented
		return
	}
	const serving = "\x00\x00\x00\x00\x02" + "\x08\x01" // HealthCheckResponse{status: SERVING}
	if _, err := w.Write([]byte(serving)); err == nil {
		w.Header().Set("Grpc-Status", "0")
	}
}
