package wsconn_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// silentPeers is how many TCP connections send nothing, and slowestBeside is how long a
// request beside them may take.
const silentPeers, slowestBeside = 1500, 500 * time.Millisecond

// TestSilentConnections opens 1,500 TCP connections from one address, which send nothing.
// A request beside them does not wait.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubbleCloud(t)
		beSilent(t, c, c.network.DialContext)
		if beside := c.request(t, c.network.DialContext); beside > slowestBeside {
			t.Errorf("a request waits for %v, more than %v", beside, slowestBeside)
		}
	})
}

// TestAttackSilentConnections measures the same over real sockets: the fastest of several
// requests, since a busy machine makes some of them slow.
func TestAttackSilentConnections(t *testing.T) {
	const tries = 3
	c := newCloud(t)
	dial := new(net.Dialer).DialContext
	atRest, beside := time.Hour, time.Hour
	for range tries {
		atRest = min(atRest, c.request(t, dial))
	}
	for range tries {
		if beside < slowestBeside {
			break
		}
		beSilent(t, c, dial)
		beside = min(beside, c.request(t, dial))
	}
	fmt.Printf("RESULT attack_silent_door_ms %d ms\n", beside.Milliseconds())
	t.Logf("at rest %v, beside %d silent connections %v", atRest, silentPeers, beside)
	if beside > slowestBeside {
		t.Errorf("a request takes %v, more than %v", beside, slowestBeside)
	}
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func beSilent(t *testing.T, c *cloud, dial dialFunc) {
	t.Helper()
	for range silentPeers {
		conn, err := dial(t.Context(), "tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// request sends a request to the cloud and returns how long it took.
func (c *cloud) request(t *testing.T, dial dialFunc) time.Duration {
	t.Helper()
	began := time.Now()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.CA.Pool()}, DisableKeepAlives: true, DialContext: dial}
	defer tr.CloseIdleConnections()
	client := http.Client{Transport: tr, Timeout: time.Minute}
	resp, err := client.Get("https://" + c.addr + "/v1/ca")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return time.Since(began)
}
