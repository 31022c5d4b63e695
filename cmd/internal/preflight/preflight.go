package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is the outcome of a check.
type Status string

// The outcomes. With OK and Warn the node works; with Fail it, or its pods, do not.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Result is one line of a check.
type Result struct {
	Check   string `json:"check"` // the check's name, as in Names
	Status  Status `json:"status"`
	Message string `json:"message"`          // what was found
	Remedy  string `json:"remedy,omitempty"` // what to do; "" with OK
}

// Config says how the node is set up, or will be. Fields may be left zero.
type Config struct {
	DataDir         string   // "" means /var/lib/edgekit
	Cloud           string   // host:port; "" means that of the identity
	Pin             string   // of the cloud's authority, from a join token; "" means that the identity has its authorities
	Transport       string   // "auto", "quic" or "websocket"; "" means auto
	RuntimeEndpoint string   // "" means containerd's
	CgroupDriver    string   // "systemd", "cgroupfs" or "auto"; "" means auto
	Listen          []Listen // "" means edgecore's defaults
}

// Listen is an address that edgecore listens on.
type Listen struct {
	Setting string // the name of edgecore's setting
	Address string // host:port; an empty host is every address
}

// DefaultListen are the addresses of edgecore without settings.
func DefaultListen() []Listen {
	return []Listen{
		{"local-api-listen", "169.254.30.10:10550"}, {"mqtt-listen", ":1884"}, {"rules-listen", "127.0.0.1:9060"},
	}
}

func (c Config) withDefaults() Config {
	if c.DataDir == "" {
		c.DataDir = "/var/lib/edgekit"
	}
	if c.Transport == "" {
		c.Transport = "auto"
	}
	if c.Listen == nil {
		c.Listen = DefaultListen()
	}
	return c
}

// check is one of the checks.
type check struct {
	name string
	run  func(ctx context.Context, e *env) []Result
}

// checks lists all checks in the order in which they run: what everything stands on first.
func checks() []check {
	return []check{
		{"kernel", checkKernel}, {"cgroups", checkCgroups}, {"modules", checkModules}, {"systemd", checkSystemd},
		{"memory", checkMemory}, {"swap", checkSwap}, {"disk", checkDisk}, {"clock", checkClock},
		{"runtime", checkRuntime}, {"cni", checkCNI}, {"ports", checkPorts},
		{"dns", checkDNS}, {"cloud", checkCloud}, {"mtu", checkMTU}, {"identity", checkIdentity},
	}
}

// Names lists the names of all checks.
func Names() []string {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}

// limit bounds each check, so that a machine that hangs somewhere is still reported on.
const limit = 30 * time.Second

// Run runs the named checks, or all without a name, and returns their results in the order of
// Names. An error means that a name is none of a check.
func Run(ctx context.Context, cfg Config, m Machine, names ...string) ([]Result, error) {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("there is no check %q: there are %s", name, strings.Join(Names(), ", "))
		}
	}
	e := &env{Machine: m, cfg: cfg.withDefaults()}
	var all []Result
	for _, c := range checks() {
		if len(names) > 0 && !slices.Contains(names, c.name) || ctx.Err() != nil {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, limit)
		for _, r := range c.run(bounded, e) {
			r.Check = c.name
			all = append(all, r)
		}
		cancel()
	}
	return all, ctx.Err()
}

// Worst is the worst status among results; OK if there is none.
func Worst(results []Result) Status {
	worst := OK
	for _, r := range results {
		if r.Status == Fail || r.Status == Warn && worst == OK {
			worst = r.Status
		}
	}
	return worst
}

// env is what one Run has.
type env struct {
	Machine
	cfg   Config
	cloud *cloudAnswer // what the cloud answered; nil before it was asked
}

func good(format string, args ...any) Result {
	return Result{Status: OK, Message: fmt.Sprintf(format, args...)}
}

func warning(remedy, format string, args ...any) Result {
	return Result{Status: Warn, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func failure(remedy, format string, args ...any) Result {
	return Result{Status: Fail, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}
