package ekuiper

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
)

// TestReal runs ruleset.json in a real eKuiper beside an edgekit broker. Building one takes minutes and 500
// modules, so it is not done here: EKUIPERD is its program, EKUIPER_ETC the folder etc of its sources. doc.go
// says how to build it.
func TestReal(t *testing.T) {
	program, etc := os.Getenv("EKUIPERD"), os.Getenv("EKUIPER_ETC")
	if program == "" || etc == "" {
		t.Skip("EKUIPERD and EKUIPER_ETC are not set")
	}
	inside, url := bustest.Broker(t)
	got := make(chan string, 16)
	stop, err := inside.Subscribe("$hw/events/device/+/+/twin/update", func(_ context.Context, m bus.Message) {
		var update topics.TwinUpdateMessage
		if err := json.Unmarshal(m.Payload, &update); err != nil {
			t.Errorf("%s: %v", m.Payload, err)
			return
		}
		device, _, _ := topics.ParseDevice(m.Topic)
		got <- device + " " + *update.Twin["temperature"].Actual.Value
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "etc"), os.DirFS(etc)); err != nil {
		t.Fatal(err)
	}
	_, _, rules := read(t)
	for _, name := range []string{"data", "log", "plugins"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "init.json"), []byte(strings.ReplaceAll(rules, broker.DefaultAddress, url)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := []string{"-loadFileType", "absolute"}
	for _, name := range []string{"etc", "data", "log", "plugins"} {
		args = append(args, "-"+name, filepath.Join(dir, name))
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = append(os.Environ(), "MQTT_SOURCE__DEFAULT__SERVER="+url, "MQTT_SOURCE__DEFAULT__QOS=1", "KUIPER__BASIC__RESTIP=127.0.0.1",
		"KUIPER__BASIC__RESTPORT="+port(t), "KUIPER__BASIC__PORT="+port(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case g := <-got:
			if g != "plant/boiler 91.0" {
				t.Errorf("got %q", g)
			}
			status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
			_, rest, _ := strings.Cut(string(status), "VmRSS:")
			line, _, _ := strings.Cut(rest, "\n")
			t.Logf("RESULT ekuiper_rss %s %v", strings.TrimSpace(line), err)
			return
		case <-again.C:
			body := []byte(`{"device":"boiler","celsius":91}`)
			if err := inside.Publish(ctx, bus.Message{Topic: "plant/boiler/temp", Payload: body, QoS: bus.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
		case <-ctx.Done():
			t.Fatal("eKuiper set no twin")
		}
	}
}

// port is a free port.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
