package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/kubectl"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

// part is a named sequence of checks.
type part struct {
	name  string
	steps []step
}

// step is one check.
type step struct {
	name  string
	run   func(ctx context.Context, l *leg) error
	must  bool          // without it nothing further of the leg makes sense
	limit time.Duration // 0 means stepLimit
}

// allParts lists the parts of a leg, or of the short form.
func allParts(short bool) []part {
	all := []part{
		{"setup", setupSteps()}, {"stock", stockSteps()}, {"cloudcore", cloudcoreSteps()}, {"node", nodeSteps()}, {"pods", podSteps()},
		{"plugins", pluginSteps()}, {"pressure", pressureSteps()}, {"restart", restartSteps()}, {"memory", memorySteps()}, {"power", powerSteps()}, {"settings", settingsSteps()}, {"end", endSteps()},
	}
	if !short {
		return all
	}
	return []part{
		{"setup", setupSteps()}, {"node", nodeSteps()}, {"pods", shortPodSteps()}, {"plugins", pluginSteps()},
		{"restart", restartSteps()}, {"power", shortPowerSteps()}, {"settings", settingsSteps()}, {"end", endSteps()},
	}
}

// upgradeParts lists the parts of a leg with --upgrade.
func upgradeParts(cuts int) []part {
	return []part{{"setup", bootSteps()}, {"package", packageSteps()}, {"upgrade", upgradeSteps(cuts)}, {"end", endSteps()}}
}

// stepLimit bounds one check, on a machine that is emulated on busy cores.
const stepLimit = 15 * time.Minute

// leg is one machine and its node.
type leg struct {
	variant
	site    *site.Site
	kube    kubectl.Client
	machine *machine
	node    string
	arch    string
	results *results

	releasePort  int  // of the releases that the host serves
	failedBefore int  // checks of earlier legs
	logsKept     bool // see keepLogs

	tasks  []string          // the processes of containers before a restart
	limits map[string]string // contents of cgroup files before a restart
}

// leg boots a machine and runs the parts in it.
func (w *workshop) leg(ctx context.Context, v variant, parts []part, all *results, keep bool) (err error) {
	m, err := w.machine(ctx, v)
	if err != nil {
		return err
	}
	l := &leg{variant: v, site: w.site, kube: w.site.Kube(), machine: m, node: "vm-" + strings.ReplaceAll(v.String(), ".", "-"),
		arch: w.opts.Arch, results: all, releasePort: w.releasePort}
	l.failedBefore = len(all.failed)
	defer func() {
		l.keepLogs(context.WithoutCancel(ctx), err)
		if keep {
			fmt.Printf("the machine is up: %s\n", m.sshLine())
			return
		}
		err = errors.Join(err, m.remove(context.WithoutCancel(ctx)), l.forget(context.WithoutCancel(ctx)))
	}()
	for _, p := range parts {
		fmt.Printf("  %s: %s\n", v, p.name)
		for _, s := range p.steps {
			ok := l.check(ctx, s)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !ok && s.must {
				return nil // it is counted
			}
		}
	}
	return nil
}

// check runs one step and says how it ended.
func (l *leg) check(ctx context.Context, s step) bool {
	limit := s.limit
	if limit == 0 {
		limit = stepLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	name := l.String() + "/" + s.name
	err := s.run(ctx, l)
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return false // the run was interrupted
	}
	if err != nil {
		why := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " | ")
		fmt.Printf("FAILED %s: %s\n", name, why)
		l.results.failed = append(l.results.failed, name)
		return false
	}
	l.results.passed++
	fmt.Printf("ok %s\n", name)
	return true
}

// await asks again every second until ok returns nil, and returns its last error when the
// time is over.
func await(ctx context.Context, atMost time.Duration, ok func(context.Context) error) error {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		if time.Since(began) > atMost {
			return fmt.Errorf("after %v: %w", atMost, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// sh makes a step's function of a shell command in the machine that must end well.
func sh(script string) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		_, err := l.machine.run(ctx, script)
		return err
	}
}

// shWait is sh for what takes some time to become true.
func shWait(atMost time.Duration, script string) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		return await(ctx, atMost, func(ctx context.Context) error { return sh(script)(ctx, l) })
	}
}

// keepLogs copies what helps to understand a failure out of the machine, once, if there was one.
func (l *leg) keepLogs(ctx context.Context, err error) {
	if l.logsKept || err == nil && len(l.results.failed) == l.failedBefore {
		return
	}
	l.logsKept = true
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := cacheFolder("vm-results")
	if err != nil {
		return
	}
	keep := func(name string, body []byte) {
		file := filepath.Join(dir, l.arch+"-"+l.String()+"-"+name+".log")
		if os.WriteFile(file, body, 0o600) == nil {
			l.results.logs = append(l.results.logs, file)
		}
	}
	if console, err := os.ReadFile(l.machine.console()); err == nil {
		keep("console", console)
	}
	for _, unit := range []string{"edgecore", "containerd"} {
		if out, err := l.machine.run(ctx, "journalctl -q --no-pager -u "+unit); err == nil {
			keep(unit, []byte(out))
		}
	}
}

// forget deletes the node's objects from the cluster, for the next leg.
func (l *leg) forget(ctx context.Context) error {
	if l.site.Attach() != nil {
		return nil
	}
	_, err := l.kube.Run(ctx, "", "delete", "node", l.node, "--ignore-not-found", "--timeout=60s")
	if err == nil {
		_, err = l.kube.Run(ctx, "", "delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
	}
	if err == nil {
		_, err = l.kube.Run(ctx, "", "delete", "pods", "-n", namespace, "--all", "--force", "--grace-period=0")
	}
	if err == nil {
		_, err = l.kube.Run(ctx, "", "wait", "--for=delete", "namespace/"+namespace, "--timeout=120s")
	}
	return err
}
