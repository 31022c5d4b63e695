package e2e

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed pipelines.yaml
var pipelinesYAML string

// TestPipelines is a pipeline in a real cluster, without the rest: PIPELINES=1 go test -run TestPipelines ./e2e.
func TestPipelines(t *testing.T) {
	if os.Getenv("PIPELINES") == "" {
		t.Skip("PIPELINES is not set")
	}
	s := deviceSite(t)
	pipelines(t, s)
	budgets(t, s)
}

// pipelines brings a pipeline to the node: MQTT by a window to a URL and a twin, with the link
// cut in the middle. All events are counted once.
func pipelines(t *testing.T, s *site.Site) {
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
	}
	ctx := within(t, 3*time.Minute)
	k := newKube(t, s)
	target := newReceiver(t, s.Network().Host().String())
	manifest := filled(pipelinesYAML, "NODE", tour.Node, "TARGET", target.url)
	k.run(ctx, manifest, "apply", "-f", "-")
	defer func() {
		ctx := context.WithoutCancel(ctx)
		k.run(ctx, manifest, "delete", "--ignore-not-found", "-f", "-")
		k.until(ctx, func() error { // without Pipelines there is no edgepipe
			if out, err := exec.CommandContext(ctx, "pgrep", "-f", s.Program("edgepipe")).Output(); err == nil {
				return fmt.Errorf("edgepipe still runs: %s", out)
			}
			return nil
		})
	}()
	k.until(ctx, func() error {
		out := k.run(ctx, "", "-n", tour.Namespace, "get", "pipeline", "means", "-o", "jsonpath={.status.nodes} {.status.running} {.status.conditions[?(@.type=='Accepted')].status}")
		if out != "1 1 True" {
			return fmt.Errorf("nodes, running and Accepted are %q", out)
		}
		return nil
	})
	edgectl := func(args ...string) string {
		t.Helper()
		out, err := s.RunOnNode(ctx, "edgectl", append([]string{"pipeline"}, append(args, "--data-dir", s.DataDir(tour.Node))...)...)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	if out := edgectl("status"); !strings.Contains(out, tour.Namespace+"/means") || !strings.Contains(out, "Running") {
		t.Errorf("edgectl pipeline status: %s", out)
	}
	const messages = 200
	publish := func(from, to int) {
		t.Helper()
		var lines strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&lines, "{\"value\":%d}\n", 20+i%3)
		}
		cmd := s.Network().Command(ctx, "mosquitto_pub", "-h", "127.0.0.1", "-p", "1884", "-q", "1", "-t", tour.Namespace+"/oven/temp", "-l")
		cmd.Stdin = strings.NewReader(lines.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v: %s", err, out)
		}
	}
	publish(0, messages/2)
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Network().Mend(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	publish(messages/2, messages)
	k.until(ctx, func() error { // the twin is set without the cloud
		twins, err := s.Twins(ctx, tour.Namespace, tour.Device)
		if err != nil {
			return err
		}
		if text, err := json.Marshal(twins["target"]); err != nil || !strings.Contains(string(text), `"20.`) && !strings.Contains(string(text), `"21`) {
			return fmt.Errorf("the twin is %s, %w", text, err)
		}
		return nil
	})
	if out := edgectl("queue", "inspect", tour.Namespace+"/means"); !strings.Contains(out, "up") || !strings.Contains(out, "target") {
		t.Errorf("edgectl pipeline queue inspect: %s", out)
	}
	if out := edgectl("dead-letter", "list", tour.Namespace+"/means"); strings.Contains(out, "mean") {
		t.Errorf("dead letters: %s", out)
	}
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	k.until(ctx, func() error {
		counts := make(map[string]int)
		for _, r := range target.requests() {
			body, ok := strings.CutPrefix(r, "POST /means ")
			if !ok {
				continue
			}
			if !strings.HasPrefix(body, "[") {
				body = "[" + body + "]"
			}
			var events []struct {
				ID   string `json:"id"`
				Data struct {
					Events int `json:"events"`
				} `json:"data"`
			}
			if err := json.Unmarshal([]byte(body), &events); err != nil {
				return fmt.Errorf("%w in %s", err, body)
			}
			for _, e := range events {
				counts[e.ID] = e.Data.Events
			}
		}
		sum := 0
		for _, n := range counts {
			sum += n
		}
		if sum != messages {
			return fmt.Errorf("%d windows have %d events of %d", len(counts), sum, messages)
		}
		return nil
	})
}
