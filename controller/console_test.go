package controller_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/controllertest"
)

// brokenListener accepts nothing from the beginning.
type brokenListener struct{ silentListener }

func (*brokenListener) Accept() (net.Conn, error) { return nil, errors.New("too many open files") }

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// TestConsoleEnds: a console whose listener fails does not end the work for nodes.
func TestConsoleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := controllertest.NewClientset()
		var log lines
		page := &console.Config{
			REST: &rest.Config{Host: "https://10.96.0.1"}, Listener: &brokenListener{silentListener{closed: make(chan struct{})}},
			Certificate: func() (*tls.Certificate, error) { return nil, errors.New("none") },
		}
		cfg := controller.Config{Cloud: kube, NodeClient: kube, Dynamic: noDevices(), ID: "x", Console: page, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		c, err := controller.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, nil) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the Controller ended: %v", err)
		case <-c.Ready():
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.text.String(), "the console has ended") || !strings.Contains(log.text.String(), "too many open files") {
			t.Errorf("the log: %s", log.text.String())
		}
		page.Listener = nil
		if _, err := controller.New(cfg); err == nil || !strings.Contains(err.Error(), "Listener") {
			t.Errorf("without a listener: %v", err)
		}
	})
}
