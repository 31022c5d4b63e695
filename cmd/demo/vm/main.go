package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

type options struct {
	Arch    string   `help:"Processor of the machine: amd64 or arm64." default:"amd64" enum:"amd64,arm64"`
	Legs    []string `help:"Legs to run: CONTAINERD-DRIVER, of 1.6-systemd, 2-cgroupfs, 1.6-cgroupfs, 2-systemd. Default: all; with arm64 only 1.6-systemd." placeholder:"LEG"`
	Parts   []string `help:"Parts to run after setup: stock, cloudcore, node, pods, plugins, pressure, restart, memory, power, settings, end. Default: all. Those from pods on need node." placeholder:"PART"`
	Upgrade bool     `help:"Install the Debian package, join by edgectl, and upgrade through power cuts: its own parts are package, upgrade and end. Default leg: 1.6-systemd."`
	Cuts    int      `help:"With --upgrade: how many power cuts." default:"12"`
	Short   bool     `help:"The short form, as with arm64."`
	Accel   string   `help:"Accelerator of qemu: tcg emulates and runs everywhere; kvm." default:"tcg" enum:"tcg,kvm"`
	Keep    bool     `help:"Leave the cluster and the last leg's machine up at the end."`
	Again   bool     `help:"Run parts once more on the machine that --keep left: give its leg and the parts, without setup."`
}

// errFailed is returned when the run itself went well, and checks failed.
var errFailed = errors.New("checks failed: see above")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var opts options
	kong.Parse(&opts, kong.Name("vm"), kong.Description("Runs edgecore on an emulated machine with systemd and its own kernel."))
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		stop()
		os.Exit(1)
	}
}

// variant is what a leg's machine has.
type variant struct {
	containerd string // 1.6 or 2
	driver     string // systemd or cgroupfs
}

func (v variant) String() string { return v.containerd + "-" + v.driver }

// variants gives the legs that were asked for.
func (o options) variants() ([]variant, error) {
	all := []variant{{"1.6", "systemd"}, {"2", "cgroupfs"}, {"1.6", "cgroupfs"}, {"2", "systemd"}}
	if o.Arch != "amd64" || o.Upgrade && len(o.Legs) == 0 {
		all = all[:1] // containerd 2 is built for this machine only
	}
	if len(o.Legs) == 0 {
		return all, nil
	}
	var out []variant
	for _, name := range o.Legs {
		i := slices.IndexFunc(all, func(v variant) bool { return v.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("legs: there is no leg %q on %s: want of %v", name, o.Arch, all)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// parts gives the parts that were asked for, in their order.
func (o options) parts() ([]part, error) {
	all := allParts(o.Short || o.Arch != "amd64")
	if o.Upgrade {
		all = upgradeParts(o.Cuts)
	}
	if len(o.Parts) == 0 {
		return all, nil
	}
	var out []part
	for _, p := range all {
		if p.name == "setup" || slices.Contains(o.Parts, p.name) {
			out = append(out, p)
		}
	}
	for _, name := range o.Parts {
		if !slices.ContainsFunc(all, func(p part) bool { return p.name == name }) {
			return nil, fmt.Errorf("parts: there is no part %q on %s", name, o.Arch)
		}
	}
	return out, nil
}

// tests are the packages whose tests run in the machine: those of the part stock, if it runs.
func (o options) tests() []string {
	parts, err := o.parts()
	if err != nil || !slices.ContainsFunc(parts, func(p part) bool { return p.name == "stock" }) {
		return nil
	}
	return []string{"./edged", "./edged/cgroup"}
}

func run(ctx context.Context, opts options) (err error) {
	legs, err := opts.variants()
	if err != nil {
		return err
	}
	parts, err := opts.parts()
	if err != nil {
		return err
	}
	s, err := site.InCache("vm", os.Stdout)
	if err != nil {
		return err
	}
	w := &workshop{site: s, opts: opts, dir: filepath.Join(s.Dir(), "workshop")}
	if !opts.Again {
		if err := s.Remove(ctx); err != nil { // what a run that was killed left
			return err
		}
	}
	if !opts.Keep {
		defer func() { err = errors.Join(err, s.Remove(context.WithoutCancel(ctx))) }()
	}
	if opts.Again {
		if err := s.Attach(); err != nil {
			return err
		}
		parts = parts[1:]
	} else if err := w.prepare(ctx); err != nil {
		return err
	}
	port, closed, err := w.serveReleases()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	w.releasePort = port
	all := &results{}
	for i, v := range legs {
		began := time.Now()
		fmt.Printf("leg %s: %s, containerd %s, cgroup driver %s\n", v, opts.Arch, v.containerd, v.driver)
		if err := w.leg(ctx, v, parts, all, opts.Keep && i == len(legs)-1); err != nil {
			return errors.Join(err, all.report())
		}
		fmt.Printf("leg %s took %v\n", v, time.Since(began).Round(time.Second))
	}
	return all.report()
}

// results counts the checks of all legs.
type results struct {
	passed   int
	failed   []string
	logs     []string // files that a failed leg left
	upgrades upgrades
	mib      float64 // the most that edgecore had resident
	peak     float64 // the most that its cgroup of 64 MiB had, in MiB
}

func (r *results) report() error {
	for _, f := range r.failed {
		fmt.Println("failed:", f)
	}
	if len(r.logs) > 0 {
		fmt.Println("logs:", strings.Join(r.logs, " "))
	}
	if r.mib > 0 {
		fmt.Printf("RESULT vm_edgecore_mib %.1f MiB\n", r.mib)
	}
	if r.peak > 0 {
		fmt.Printf("RESULT vm_edgecore_cgroup_peak_mib %.1f MiB\n", r.peak)
	}
	if u := r.upgrades; u.jobs > 0 {
		fmt.Printf("RESULT upgrade_cuts %d cuts\nRESULT upgrade_broken %d cuts\nRESULT upgrade_pods_restarted %d starts\n", u.cuts, len(u.broken), u.restarted)
	}
	fmt.Printf("RESULT vm_passed %d checks\n", r.passed)
	fmt.Printf("RESULT vm_failed %d checks\n", len(r.failed))
	if len(r.failed) > 0 {
		return errFailed
	}
	return nil
}

// cacheFolder is a folder of edgekit's part of the user's cache.
func cacheFolder(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "edgekit", name)
	return dir, os.MkdirAll(dir, 0o755)
}
