package main

import (
	"errors"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

func TestCheckMonitor(t *testing.T) {
	for addr, ok := range map[string]bool{
		"": true, "127.0.0.1:10001": true, "[::1]:10001": true, "localhost:10001": true, "127.0.0.2:0": true,
		":10001": false, "0.0.0.0:10001": false, "10.0.0.1:10001": false, "metrics.example.com:10001": false, "10001": false,
	} {
		err := checkMonitor(addr, false)
		usage, is := errors.AsType[*program.UsageError](err)
		if (err == nil) != ok || !ok && (!is || usage.Setting != "metrics-listen") {
			t.Errorf("%q: %v", addr, err)
		}
		if err := checkMonitor(addr, true); err != nil {
			t.Errorf("%q, open: %v", addr, err)
		}
	}
}

func TestBindable(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1": true, "0.0.0.0": true, "198.51.100.1": false, "host": false, "": false} {
		if err := bindable(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
