package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// more is how many goroutines and files a node at rest may have over what it had
// before: connections come and go.
const more = 8

// traces is what pods leave on a node, and what edgecore holds.
type traces struct {
	all                 []string
	goroutines, openFDs int
}

// quietNode runs a pod of each kind once, so that what the first pod makes for
// good is there, and takes the traces of the node without pods.
func (w *world) quietNode(ctx context.Context, n *node) (traces, error) {
	for i := range 3 { // what idles must be there, not what happens to be
		if err := w.life(ctx, fmt.Sprintf("first%d", i), w.kinds[i], 2*time.Second, 1); err != nil {
			return traces{}, err
		}
	}
	w.created.Store(0)
	if err := sleep(ctx, 5*time.Second); err != nil {
		return traces{}, err
	}
	return n.traces(ctx)
}

// wait waits until the node has no more than before, but for what the runtime has lost,
// and returns what it still has after a while.
func (t traces) wait(ctx context.Context, w *world, n *node) (left []string, err error) {
	err = until(ctx, 3*time.Minute, func() error {
		now, err := n.traces(ctx)
		if err != nil {
			return err
		}
		left = now.over(t)
		if !slices.ContainsFunc(left, func(s string) bool { return !ofTheRuntime(s) }) {
			return nil
		}
		return fmt.Errorf("%d things are left", len(left))
	})
	if errors.Is(err, errPatience) && len(left) > 0 {
		err = nil
	}
	return left, err
}

// ofTheRuntime reports that something is containerd's own and that it has forgotten it,
// as when it is killed while it makes a sandbox: no agent can ask it to remove what it
// does not list. A snapshot without a container goes when its lease of a day ends.
func ofTheRuntime(left string) bool {
	for _, part := range []string{"/containerd/", "/runc/", "/ipam/", "/var/lib/cni/", "shim ", "interface ", "snapshot "} {
		if strings.Contains(left, part) {
			return true
		}
	}
	return false
}

// over lists what is there now and was not before.
func (t traces) over(before traces) []string {
	left := slices.DeleteFunc(slices.Clone(t.all), func(s string) bool { return slices.Contains(before.all, s) })
	if t.goroutines > before.goroutines+more {
		left = append(left, fmt.Sprintf("%d goroutines, %d before", t.goroutines, before.goroutines))
	}
	if t.openFDs > before.openFDs+more {
		left = append(left, fmt.Sprintf("%d open files, %d before", t.openFDs, before.openFDs))
	}
	return left
}

func (n *node) traces(ctx context.Context) (t traces, err error) {
	if t.all, err = n.site.Traces(ctx); err != nil {
		return t, err
	}
	for _, pattern := range []string{
		filepath.Join(n.site.DataDir(nodeName), "pods", "*"),
		filepath.Join(n.site.Dir(), "pod-logs", "*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return t, err
		}
		t.all = append(t.all, found...)
	}
	values, err := n.metrics(ctx)
	t.goroutines, t.openFDs = values["go_goroutines"], values["process_open_fds"]
	return t, err
}

// metrics gives edgecore's metrics in whole numbers, by their names with their labels.
func (n *node) metrics(ctx context.Context) (map[string]int, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: n.site.Network().DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	values := make(map[string]int)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = int(v)
		}
	}
	return values, lines.Err()
}
