package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// TestServe passes two connections on, each to its own, and ends with its context.
func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	local, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, local, remote) }()
	for _, word := range []string{"one", "two"} {
		waiting, err := net.Dial("tcp", remote.Addr().String()) // the suite is there first
		if err != nil {
			t.Fatal(err)
		}
		caller, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(caller, word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(waiting, got); err != nil || string(got) != word {
			t.Errorf("got %q, %v, want %q", got, err, word)
		}
		caller.Close()
		if rest, err := io.ReadAll(waiting); err != nil || len(rest) > 0 {
			t.Errorf("after the caller's end: %q, %v", rest, err)
		}
		waiting.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
