package dra_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/pluginregistry"
)

// TestDriversOfTheNode: drivers have 30 seconds to register after a start, and to come back;
// a report that fails is made again.
func TestDriversOfTheNode(t *testing.T) {
	m := newMachine(t)
	endpoint := m.root + "/d.sock"
	l, err := net.Listen("unix", endpoint) // connections wait in it; nobody answers
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex // guards both
		var reports []string
		fail := errors.New("no disk")
		mgr, err := dra.New(dra.Config{Store: m.store, Claims: m, DriversChanged: func(_ context.Context, names []string) error {
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, fmt.Sprint(time.Since(began))+fmt.Sprint(names))
			return fail
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- mgr.Run(ctx) }()
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(reports) != fmt.Sprint(want) {
				t.Errorf("%s: %q, want %q", when, reports, want)
			}
			reports = nil
		}
		time.Sleep(29 * time.Second)
		expect("drivers have time to register")
		p := &pluginregistry.Plugin{Name: "a.example.com", Endpoint: endpoint, Versions: []string{"v1.DRAPlugin"}}
		if err := mgr.Register(ctx, p); err != nil {
			t.Fatal(err)
		}
		mgr.Changed(ctx)
		time.Sleep(2 * time.Second)
		expect("a driver", "30s[a.example.com]")
		mu.Lock()
		fail = nil
		mu.Unlock()
		time.Sleep(10 * time.Second)
		expect("the report failed", "40s[a.example.com]")
		mgr.Deregister(p)
		mgr.Changed(ctx)
		time.Sleep(20 * time.Second)
		if err := mgr.Register(ctx, p); err != nil {
			t.Fatal(err)
		}
		mgr.Changed(ctx)
		time.Sleep(time.Minute)
		expect("a restart of the driver")
		if err := l.Close(); err != nil { // it was killed: its registration stays
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect("the driver cannot be reached", "2m30s[]")
		mgr.Deregister(p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
