package mqtt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestChaos kills edgecore's part, the broker, a mapper and the connections in any order, while
// mappers report and an app sets what is desired: make twin-chaos. No update that was accepted
// may be lost, none applied twice, and who follows documents and deltas ends with what the
// twin has. UPDATES is how many are reported, KILLS how often something is killed, SEED the
// order.
func TestChaos(t *testing.T) {
	updates, kills := number("UPDATES", 6000), number("KILLS", 6)
	lost, doubled, inconsistent := 0, 0, 0
	for _, outside := range []bool{false, true} {
		t.Run(map[bool]string{false: "internal", true: "external"}[outside], func(t *testing.T) {
			c := startChaos(t, outside, updates/2/(2*properties))
			c.run(uint64(number("SEED", 1)), kills/2)
			lost, doubled, inconsistent = lost+c.lost, doubled+c.doubled, inconsistent+c.inconsistent
		})
	}
	t.Logf("RESULT twin_chaos_updates %d", updates)
	t.Logf("RESULT twin_lost %d", lost)
	t.Logf("RESULT twin_doubled %d", doubled)
	t.Logf("RESULT twin_inconsistent %d", inconsistent)
	if lost+doubled+inconsistent > 0 {
		t.Errorf("%d lost, %d doubled, %d not as documents and deltas say", lost, doubled, inconsistent)
	}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// chaos is a node with its programs.
type chaos struct {
	t        *testing.T
	dir      string
	outside  bool
	until    int // the last value of each property
	link     *link
	programs map[string]*exec.Cmd // that run; run owns it

	mu       sync.Mutex
	accepted map[string]map[string]int // the last accepted value, by device and property
	count    int                       // of accepted updates
	seen     map[string]string         // what documents, deltas and lists say: "device property side"
	changed  chan struct{}             // has an element when something here has changed
	desired  int                       // the last value that the app has set
	set      bool                      // the app has ended
	arrived  chan<- struct{}           // the app waits for what is seen

	lost, doubled, inconsistent int
}

func startChaos(t *testing.T, outside bool, until int) *chaos {
	if outside {
		if _, err := exec.LookPath("mosquitto"); err != nil {
			t.Skip("mosquitto is not installed: apt-get install mosquitto")
		}
	}
	dir, err := os.MkdirTemp("", "chaos") // t.TempDir is too long for a unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &chaos{
		t: t, dir: dir, outside: outside, until: until, programs: make(map[string]*exec.Cmd), changed: make(chan struct{}, 1),
		accepted: map[string]map[string]int{"plant/m0": {}, "plant/m1": {}}, seen: make(map[string]string),
	}
	if c.link, err = newLink(filepath.Join(dir, "mqtt.sock")); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(c.link.serve)
	t.Cleanup(func() { c.link.close(); serving.Wait() })
	conf := fmt.Sprintf("user root\nlistener 0 %s\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n", filepath.Join(dir, "mqtt.sock"))
	if err := os.WriteFile(filepath.Join(dir, "mosquitto.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts a program.
func (c *chaos) start(name string) {
	cfg := chaosConfig{Broker: c.link.url()}
	cmd := exec.Command(os.Args[0])
	switch name {
	case "mosquitto":
		cmd = exec.Command("mosquitto", "-c", filepath.Join(c.dir, "mosquitto.conf"))
	case "edge":
		cfg.Part, cfg.Store = "edge", filepath.Join(c.dir, "store")
		if !c.outside {
			cfg.Listen = "unix://" + c.link.backend
		}
	default:
		c.mu.Lock()
		cfg.Part, cfg.Device, cfg.Until, cfg.From, cfg.Quiet = "mapper", name, c.until, maps.Clone(c.accepted[name]), name == "plant/m0"
		c.mu.Unlock()
		cmd.Stdout = &acceptedLines{c: c, device: name}
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), chaosEnv+"="+string(text))
	if name != "mosquitto" {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.programs[name] = cmd
}

func (c *chaos) kill(name string) {
	if cmd := c.programs[name]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		delete(c.programs, name)
	}
}

// acceptedLines reads what a mapper prints.
type acceptedLines struct {
	c      *chaos
	device string
	rest   []byte
}

func (a *acceptedLines) Write(p []byte) (int, error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.rest = append(a.rest, p...)
	for {
		line, rest, ok := bytes.Cut(a.rest, []byte("\n"))
		if !ok {
			break
		}
		a.rest = rest
		var name string
		var value int
		if n, _ := fmt.Sscanf(string(line), "A %s %d", &name, &value); n == 2 {
			a.c.accepted[a.device][name] = value
			a.c.count++
		}
	}
	a.c.notifyLocked()
	return len(p), nil
}

func (c *chaos) notifyLocked() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// run reports all values, with kills between.
func (c *chaos) run(seed uint64, kills int) {
	r := rand.New(rand.NewPCG(seed, seed))
	names := []string{"edge", "plant/m0", "plant/m1"}
	if c.outside {
		names = append(names, "mosquitto")
	}
	for i := len(names) - 1; i >= 0; i-- {
		c.start(names[i])
	}
	defer func() {
		for _, name := range names {
			c.kill(name)
		}
	}()
	ctx, cancel := context.WithCancel(c.t.Context())
	var group errgroup.Group
	loaded := c.follow(ctx, &group)
	defer func() {
		cancel()
		_ = group.Wait() // canceled
	}()
	total := c.until * 2 * properties
	for i := range kills {
		at := (total*i + r.IntN(total)) / (kills + 1)
		c.wait(fmt.Sprintf("before kill %d", i), func() bool { return c.count >= at })
		victims := append([]string{"link"}, names...)
		r.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
		victims = victims[:1+r.IntN(2)]
		c.t.Logf("after %d updates: kill %s", at, strings.Join(victims, ", "))
		for _, name := range victims {
			if name == "link" {
				c.link.cut()
				continue
			}
			c.kill(name)
		}
		r.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
		for _, name := range victims {
			if name != "link" {
				c.start(name)
			}
		}
	}
	c.wait("for all updates", func() bool { return c.count >= total })
	close(loaded)
	if !c.waited(c.settledLocked) {
		c.t.Error("documents and deltas do not lead to the last values")
	}
	c.kill("edge")
	c.compare()
}

// wait waits for a condition, which needs mu.
func (c *chaos) wait(what string, done func() bool) {
	if !c.waited(done) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.t.Fatalf("no progress %s: %d accepted, %d desired", what, c.count, c.desired)
	}
}

// waited reports whether a condition came while there was progress: something happened every
// five minutes.
func (c *chaos) waited(done func() bool) bool {
	for {
		c.mu.Lock()
		ok := done()
		c.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-c.changed:
		case <-time.After(5 * time.Minute):
			return false
		}
	}
}
