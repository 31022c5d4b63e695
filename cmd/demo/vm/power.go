package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// powerSteps cut the machine's power three times and reboot it in order.
func powerSteps() []step {
	all := []step{{name: "power-cut-1", run: cut(nil, true), must: true}}
	all = append(all, booted("power-cut-1")...)
	all = append(all,
		// In the middle of starting pods. The machine then finds no network.
		step{name: "power-cut-2-without-a-network", run: cut(scale(6), false), must: true},
		step{name: "power-cut-2-edgecore-active", run: shWait(10*time.Minute, `[ "$(systemctl show -P SubState edgecore)" = running ] && edgectl get pods -n vm`)},
		step{name: "power-cut-2-pods-run-offline", run: func(ctx context.Context, l *leg) error { return await(ctx, 10*time.Minute, l.offline) }},
		step{name: "reboot-in-order", run: func(ctx context.Context, l *leg) error {
			if err := l.machine.powerOff(ctx); err != nil {
				return err
			}
			return l.machine.boot(ctx, true)
		}, must: true})
	all = append(all, booted("reboot")...)
	// In the middle of ending pods.
	all = append(all, step{name: "power-cut-3", run: cut(scale(1), true), must: true})
	return append(all, booted("power-cut-3")...)
}

// shortPowerSteps cut the power once.
func shortPowerSteps() []step {
	return append([]step{{name: "power-cut-1", run: cut(nil, true), must: true}}, booted("power-cut-1")...)
}

// booted are the checks after a boot.
func booted(name string) []step {
	return []step{
		{name: name + "-node-ready", run: func(ctx context.Context, l *leg) error { return l.nodeReady(ctx) }},
		{name: name + "-pods-run-once", run: func(ctx context.Context, l *leg) error { return await(ctx, 10*time.Minute, l.podsRun) }},
		{name: name + "-nothing-left", run: func(ctx context.Context, l *leg) error { return await(ctx, podLimit, l.nothingElse) }},
		{name: name + "-emptydir-kept", run: inPod("web", "grep -q written /scratch/file")},
		{name: name + "-limits", run: func(ctx context.Context, l *leg) error { return l.sameLimits(ctx) }},
		{name: name + "-file-system", run: sh(`! grep -q ' / [^ ]* ro[, ]' /proc/1/mounts`)},
	}
}

// cut pulls the power, a moment after something else began, and boots again.
func cut(begin func(context.Context, *leg) error, network bool) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		if err := l.noteLimits(ctx); err != nil {
			return err
		}
		if begin != nil {
			if err := begin(ctx, l); err != nil {
				return err
			}
		}
		if err := l.machine.cut(ctx); err != nil {
			return err
		}
		return l.machine.boot(ctx, network)
	}
}

// scale changes the number of the Deployment's pods and waits until the machine works at it:
// a container more runs, or one less.
func scale(n int) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		before, err := l.running(ctx)
		if err != nil {
			return err
		}
		if _, err := l.kube.Run(ctx, "", "scale", "deployment", "crowd", "-n", namespace, "--replicas="+strconv.Itoa(n)); err != nil {
			return err
		}
		return await(ctx, podLimit, func(ctx context.Context) error {
			now, err := l.running(ctx)
			if err == nil && len(now) == len(before) {
				err = errors.New("nothing has begun")
			}
			return err
		})
	}
}

// offline checks on the machine itself that the pods run which it has in its store.
func (l *leg) offline(ctx context.Context) error {
	tasks, err := l.running(ctx)
	if err != nil {
		return err
	}
	out, err := l.machine.run(ctx, "edgectl get pods -n "+namespace)
	if err != nil {
		return err
	}
	got := map[string]int{}
	for _, t := range tasks {
		got[t.pod]++
	}
	var listed int
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "NAME" {
			continue
		}
		listed++
		if !slices.Contains(f, "Running") {
			return fmt.Errorf("pod does not run: %s", line)
		}
	}
	if listed < 5 || len(got) != listed {
		return fmt.Errorf("%d pods run, edgectl lists %d: %s", len(got), listed, out)
	}
	return nil
}
