package simulate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/simulate"
)

func TestConfig(t *testing.T) {
	good := simulate.Config{REST: &rest.Config{}, Servers: []string{"h:1"}, Nodes: 1}
	if _, err := simulate.New(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*simulate.Config){
		"REST":           func(c *simulate.Config) { c.REST = nil },
		"Servers":        func(c *simulate.Config) { c.Servers = nil },
		"want host:port": func(c *simulate.Config) { c.Servers = []string{"h"} },
		"Nodes":          func(c *simulate.Config) { c.Nodes = simulate.MaxNodes + 1 },
		"Pods":           func(c *simulate.Config) { c.Pods = -1 },
		"Twins":          func(c *simulate.Config) { c.Twins = simulate.MaxTwins + 1 },
		"Transport":      func(c *simulate.Config) { c.Transport = "tcp" },
		"Identity":       func(c *simulate.Config) { c.Identity = "none" },
		"negative":       func(c *simulate.Config) { c.Ramp = -1 },
		"100ms":          func(c *simulate.Config) { c.ReportInterval = time.Millisecond },
		"Config.Name":    func(c *simulate.Config) { c.Name = "A b" },
		"Namespace":      func(c *simulate.Config) { c.Namespace = "a/b" },
	} {
		c := good
		change(&c)
		if _, err := simulate.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestUnreachable has an API server that does not answer: Run says so, and a second Run is refused.
func TestUnreachable(t *testing.T) {
	f, err := simulate.New(simulate.Config{REST: &rest.Config{Host: "https://127.0.0.1:1"}, Servers: []string{"127.0.0.1:1"}, Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.Run(ctx); err == nil {
		t.Error("an API server that is not there was no error")
	}
	if err := f.Run(ctx); !errors.Is(err, simulate.ErrStarted) {
		t.Errorf("a second Run: %v", err)
	}
	if s := f.Stats(); s.Begun != 0 || s.Summary() == "" || f.Pending() != 0 {
		t.Errorf("%+v", s)
	}
}
