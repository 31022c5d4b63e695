package e2e

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed rules.yaml
var rulesYAML string

// TestRules is rules in a real cluster, without the rest: RULES=1 go test -run TestRules ./e2e.
func TestRules(t *testing.T) {
	if os.Getenv("RULES") == "" {
		t.Skip("RULES is not set")
	}
	s := deviceSite(t)
	rulePairs(t, s)
	budgets(t, s)
}

// receiver is an HTTP service on the host that cloudcore sends to.
type receiver struct {
	url string

	mu  sync.Mutex
	got []string // method, path and body
}

func newReceiver(t *testing.T, address string) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{url: "http://" + listener.Addr().String()}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, req.Method+" "+req.URL.Path+" "+string(body))
		r.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "made")
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return r
}

func (r *receiver) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// rulePairs drives all four pairs of rules with curl and mosquitto's clients, and an outage
// of the link: a message from the node comes once after it, and one for the node waits.
func rulePairs(t *testing.T, s *site.Site) {
	for _, program := range []string{"mosquitto_pub", "mosquitto_sub", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: apt-get install mosquitto-clients curl", program)
		}
	}
	ctx := within(t, 5*time.Minute)
	k := newKube(t, s)
	host := s.Network().Host().String()
	entry := net.JoinHostPort(host, "9443")
	restartCloud(ctx, t, s, "--rules-listen", entry)
	restartEdge(ctx, t, s, "--metrics-listen", "127.0.0.1:10002")
	defer func() { // both as they were
		ctx := context.WithoutCancel(ctx)
		restartCloud(ctx, t, s)
		restartEdge(ctx, t, s)
	}()
	target := newReceiver(t, host)
	manifest := filled(rulesYAML, "NODE", tour.Node, "TARGET", target.url)
	k.run(ctx, manifest, "apply", "-f", "-")
	defer k.run(context.WithoutCancel(ctx), manifest, "delete", "--ignore-not-found", "-f", "-")
	token := strings.TrimSpace(k.run(ctx, "", "-n", tour.Namespace, "create", "token", "default"))
	call := func(path, body string, header ...string) (string, error) {
		args := []string{"-sSk", "--max-time", "60", "-w", "\n%{http_code}", "-H", "Authorization: Bearer " + token}
		if body != "" {
			args = append(args, "--data-binary", body)
		}
		for _, h := range header {
			args = append(args, "-H", h)
		}
		out, err := exec.CommandContext(ctx, "curl", append(args, "https://"+entry+"/"+tour.Node+"/"+tour.Namespace+path)...).CombinedOutput()
		return string(out), err
	}
	onNode := func(program string, args ...string) (string, error) {
		out, err := s.Network().Command(ctx, program, args...).CombinedOutput()
		return string(out), err
	}
	wants := func(path, body, text string, header ...string) {
		t.Helper()
		k.until(ctx, func() error {
			out, err := call(path, body, header...)
			if err != nil {
				return fmt.Errorf("curl %s: %w: %s", path, err, out)
			}
			if !strings.Contains(out, text) {
				return fmt.Errorf("%s answers %q, want %q in it", path, out, text)
			}
			return nil
		})
	}
	publish := func(message string) error {
		out, err := onNode("mosquitto_pub", "-h", "127.0.0.1", "-p", "1884", "-q", "1", "-t", tour.Namespace+"/line/count", "-m", message)
		if err != nil {
			return fmt.Errorf("mosquitto_pub: %w: %s", err, out)
		}
		return nil
	}
	wants("/metrics", "", "\n200")  // rest to servicebus: a GET
	wants("/metrics", "x", "\n405") // edgecore's metrics take no POST: its status passes
	k.until(ctx, func() error {     // eventbus to rest
		if err := publish("1"); err != nil {
			return err
		}
		if !slices.Contains(target.requests(), "POST /mqtt 1") {
			return fmt.Errorf("the target got %q", target.requests())
		}
		return nil
	})
	out, err := onNode("curl", "-sS", "--max-time", "60", "-d", `{"method":"PUT","targetURL":"http://erp/orders","payload":{"n":1}}`, "http://127.0.0.1:9060/")
	if err != nil || !strings.Contains(out, `"code":201`) || !slices.Contains(target.requests(), `PUT /orders {"n":1}`) { // servicebus to rest
		t.Errorf("the program on the node got %s, %v; the target %q", out, err, target.requests())
	}
	// The subscriber's session is there before the first message: the broker keeps it.
	subscriber := []string{"-h", "127.0.0.1", "-p", "1884", "-q", "1", "-c", "-i", "rules-e2e", "-t", "from-cloud/#"}
	if out, err := onNode("mosquitto_sub", append(slices.Clone(subscriber), "-E")...); err != nil {
		t.Fatalf("mosquitto_sub: %v: %s", err, out)
	}
	heard := make(chan error, 1)
	go func() { // rest to eventbus, before and after an outage
		out, err := onNode("mosquitto_sub", append(slices.Clone(subscriber), "-C", "2", "-W", "120")...)
		if err != nil || out != "first\nsecond\n" {
			err = fmt.Errorf("mosquitto_sub got %q, %w", out, errors.Join(err, errors.New("want first and second")))
		}
		heard <- err
	}()
	wants("/a/x", "first", "message delivered")
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Network().Mend(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	for i := range 3 {
		if err := publish(fmt.Sprint("offline ", i)); err != nil {
			t.Fatal(err)
		}
	}
	wants("/a/x", "second", "\n202", "Prefer: respond-async")
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	k.until(ctx, func() error {
		var offline []string
		for _, r := range target.requests() {
			if strings.Contains(r, "offline") {
				offline = append(offline, r)
			}
		}
		if !slices.Equal(offline, []string{"POST /mqtt offline 0", "POST /mqtt offline 1", "POST /mqtt offline 2"}) {
			return fmt.Errorf("the target got %q", offline)
		}
		return nil
	})
	if err := <-heard; err != nil {
		t.Error(err)
	}
	k.until(ctx, func() error {
		out := k.run(ctx, "", "-n", tour.Namespace, "get", "rule", "from-mqtt", "-o", `jsonpath={.status.conditions[0].status} {.status.successMessages}`)
		if !strings.HasPrefix(out, "True ") || strings.HasSuffix(out, " ") {
			return fmt.Errorf("the status is %q", out)
		}
		return nil
	})
}
