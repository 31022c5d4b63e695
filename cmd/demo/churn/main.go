package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

type options struct {
	Pods    int           `help:"Pods to start and delete." default:"500"`
	Alive   int           `help:"Pods at the same time, at most." default:"30"`
	Kills   int           `help:"How often edgecore is killed; containerd is killed as often." default:"20"`
	Trouble time.Duration `help:"How long the disk is full, and how long CNI fails; 0 leaves both out." default:"1m"`
	Seed    uint64        `help:"Seed of all that is random; 0 chooses one." default:"0"`
	Keep    bool          `help:"Leave the cluster up at the end."`
}

// errFound is returned when the run itself went well, and found something.
var errFound = errors.New("pods were wrong or left something: see above")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var opts options
	kong.Parse(&opts, kong.Name("churn"), kong.Description("Starts and deletes pods on a node that is in trouble."))
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) (err error) {
	if opts.Pods < 1 || opts.Alive < 1 || opts.Kills < 0 || opts.Trouble < 0 {
		return errors.New("pods and alive must be at least 1, kills and trouble at least 0")
	}
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64()
	}
	fmt.Printf("seed %d\n", opts.Seed)
	s, err := site.InCache("churn", os.Stdout)
	if err != nil {
		return err
	}
	if err := s.Remove(ctx); err != nil { // what a run that was killed left
		return err
	}
	if !opts.Keep {
		defer func() {
			if downErr := s.Remove(context.WithoutCancel(ctx)); err == nil {
				err = downErr
			}
		}()
	}
	n := &node{site: s}
	if err := n.start(ctx); err != nil {
		return err
	}
	w, err := newWorld(ctx, s, opts)
	if err != nil {
		return err
	}
	before, err := w.quietNode(ctx, n)
	if err != nil {
		return err
	}
	began := time.Now()
	kills, err := w.churn(ctx, n)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := w.settle(ctx); err != nil {
		return err
	}
	left, err := before.wait(ctx, w, n)
	if err != nil {
		return err
	}
	return report(w, left, kills, took)
}

// churn runs the pods and the trouble beside them, and gives the number of kills.
func (w *world) churn(ctx context.Context, n *node) (kills int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.judge.watch(ctx, w) })
	supervised, stop := context.WithCancel(ctx)
	group.Go(func() error { return n.supervise(supervised) })
	group.Go(func() error { return w.calls.count(supervised, n) })
	group.Go(func() error {
		defer stop()
		defer w.judge.stop()
		var troubles errgroup.Group
		troubles.Go(func() (err error) { kills, err = n.kill(ctx, w); return err })
		if w.opts.Trouble > 0 {
			troubles.Go(func() error { return n.breakNetwork(ctx, w) })
			troubles.Go(func() error { return n.fillDisk(ctx, w) })
		}
		return errors.Join(w.live(ctx), troubles.Wait())
	})
	return kills, group.Wait()
}

func report(w *world, left []string, kills int, took time.Duration) error {
	leaks, forgotten := 0, 0
	for _, l := range left {
		if ofTheRuntime(l) {
			forgotten++
		} else {
			leaks++
		}
		fmt.Println("left:", l)
	}
	wrong := w.judge.found()
	for _, f := range wrong {
		fmt.Println("wrong:", f)
	}
	fmt.Printf("RESULT churn_pods %d count\n", w.opts.Pods)
	fmt.Printf("RESULT churn_kills %d count\n", kills)
	fmt.Printf("RESULT churn_minutes %.1f min\n", took.Minutes())
	fmt.Printf("RESULT churn_runtime_calls_per_min %d count\n", w.calls.most())
	fmt.Printf("RESULT churn_wrong %d count\n", len(wrong))
	fmt.Printf("RESULT churn_runtime_leaks %d count\n", forgotten)
	fmt.Printf("RESULT churn_leaks %d count\n", leaks)
	if leaks+len(wrong) > 0 {
		return errFound
	}
	return nil
}
