package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

// app is one running stand-in.
type app struct {
	mux *http.ServeMux

	mu    sync.Mutex
	facts map[string]any
}

// set notes a fact for /state.
func (a *app) set(name string, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.facts[name] = value
}

// count adds to a number among the facts.
func (a *app) count(name string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	have, _ := a.facts[name].(int)
	a.facts[name] = have + n
}

func run(ctx context.Context, args []string) error {
	programs := map[string]func(context.Context, *app) error{
		"fluent-bit": fluentBit, "kube-state-metrics": stateMetrics,
		"metrics-server": metricsServer, "operator": operator, "ingress": ingress, "database": database,
		"device-plugin": devicePlugin, "dra-driver": draDriver, "claim-user": claimUser,
	}
	if len(args) == 0 || programs[args[0]] == nil {
		return errors.New("the first argument must name a program, see the package's documentation")
	}
	a := &app{mux: http.NewServeMux(), facts: make(map[string]any)}
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	a.mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(a.facts) // the client went
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return programs[args[0]](ctx, a) })
	g.Go(func() error { return serve(ctx, a.mux) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func serve(ctx context.Context, h http.Handler) error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve says the same
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// client reaches the API as every program in a cluster does.
func client() (kubernetes.Interface, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "standin"
	return kubernetes.NewForConfig(config)
}

// every calls f until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
