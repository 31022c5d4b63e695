package e2e

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// udpBlocked drops cloudcore's UDP packets on their way to the node, without an error to
// either side: edgecore comes over WebSocket, says so in its log and by its metrics, and
// goes there first when it connects again.
func udpBlocked(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	before := otherWays(t, s)
	firewall(ctx, t, s, "-I")
	const monitor = "127.0.0.1:10002"
	if _, err := s.StartEdge(tour.Node, "--transport", "auto", "--metrics-listen", monitor); err != nil {
		t.Fatal(err)
	}
	const overWebSocket = `edgekit_hub_sessions{transport="websocket"} 1`
	began := time.Now()
	awaitMetric(ctx, t, s, monitor, overWebSocket)
	t.Logf("connected over WebSocket after %v", time.Since(began).Round(time.Millisecond))
	if lines := otherWays(t, s) - before; lines != 1 {
		t.Errorf("the log says %d times that another transport won", lines)
	}

	// cloudcore goes and returns: WebSocket wins again, and that is no news.
	if err := s.StopCloud(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.StartCloud(ctx); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	awaitMetric(ctx, t, s, monitor, overWebSocket)
	t.Logf("connected again after %v", time.Since(began).Round(time.Millisecond))
	if lines := otherWays(t, s) - before; lines != 1 {
		t.Errorf("after cloudcore was started again, the log says %d times that another transport won", lines)
	}

	firewall(ctx, t, s, "-D")
	restartEdge(ctx, t, s)
}

// firewall adds or deletes the rule, in the node's network.
func firewall(ctx context.Context, t *testing.T, s *site.Site, do string) {
	t.Helper()
	rule := s.Network().Command(ctx, "iptables", do, "INPUT", "-p", "udp", "--sport", "10000", "-j", "DROP")
	if out, err := rule.CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v: %s", err, out)
	}
}

// otherWays is how often edgecore's log says that WebSocket has won.
func otherWays(t *testing.T, s *site.Site) int {
	t.Helper()
	text, err := s.Processes().Tail("edgecore", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, "another way to the cloud won") && strings.Contains(line, "way=websocket") {
			n++
		}
	}
	return n
}

// awaitMetric waits for a line of edgecore's metrics.
func awaitMetric(ctx context.Context, t *testing.T, s *site.Site, addr, line string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: s.Network().DialContext, DisableKeepAlives: true}}
	for {
		if text, err := scrape(ctx, client, addr); err == nil && slices.Contains(strings.Split(text, "\n"), line) {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no %s", line)
		}
	}
}

// scrape reads a program's metrics; an error says that it is not up yet.
func scrape(ctx context.Context, client *http.Client, addr string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return string(text), err
}
