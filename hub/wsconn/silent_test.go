package wsconn_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestAttackSilentConnections opens 1,500 TCP connections that say nothing, all from one
// address. A request beside them is answered as if they were not there.
func TestAttackSilentConnections(t *testing.T) {
	const silent, most = 1500, 500 * time.Millisecond
	c := newCloud(t)
	request := func() time.Duration {
		began := time.Now()
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.CA.Pool()}, DisableKeepAlives: true}
		defer tr.CloseIdleConnections()
		client := http.Client{Transport: tr, Timeout: time.Minute}
		resp, err := client.Get("https://" + c.addr + "/v1/ca")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return time.Since(began)
	}
	atRest := request()
	for range silent {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	beside := request()
	fmt.Printf("RESULT attack_silent_door_ms %d ms\n", beside.Milliseconds())
	t.Logf("at rest %v, beside %d silent connections %v", atRest, silent, beside)
	if beside > most {
		t.Errorf("a request takes %v, more than %v", beside, most)
	}
}
