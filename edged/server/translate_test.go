package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// spdyRuntime is a runtime's streaming server: it sends stdin back on stdout, and status
// Success when stdin ends.
func spdyRuntime(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io", "portforward.k8s.io"}); err != nil {
			return
		}
		streams := make(chan httpstream.Stream, 8)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if conn == nil {
			t.Error("no upgrade")
			return
		}
		defer conn.Close()
		by := make(map[string]httpstream.Stream)
		for len(by) < 3 {
			select {
			case s := <-streams:
				by[s.Headers().Get("Streamtype")] = s
			case <-conn.CloseChan():
				return
			}
		}
		_, _ = io.Copy(by["stdout"], by["stdin"])
		by["stdout"].Close()
		_, _ = io.WriteString(by["error"], `{"status":"Success"}`)
		by["error"].Close()
		<-conn.CloseChan()
	})
}

func dialWebSocket(t *testing.T, web *httptest.Server, path, protocol string) *websocket.Conn {
	t.Helper()
	cfg, err := websocket.NewConfig("ws"+strings.TrimPrefix(web.URL, "http")+path, web.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Protocol = []string{protocol}
	ws, err := cfg.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	if err := ws.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ws.PayloadType = websocket.BinaryFrame
	return ws
}

// frame reads the next frame that has anything after its channel.
func frame(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	for {
		var b []byte
		if err := websocket.Message.Receive(ws, &b); err != nil {
			t.Fatal(err)
		}
		if len(b) > 1 {
			return string(b)
		}
	}
}

// TestChannels speaks v5.channel.k8s.io: channels by number, and a close of
// one of them.
func TestChannels(t *testing.T) {
	n := newNode(t)
	n.streaming.Config.Handler = spdyRuntime(t)
	web := serve(t, n, nil)
	ws := dialWebSocket(t, web, "/exec/default/web/app?command=cat&input=1&output=1", "v5.channel.k8s.io")
	if err := websocket.Message.Send(ws, []byte("\x00hello")); err != nil {
		t.Fatal(err)
	}
	if got := frame(t, ws); got != "\x01hello" {
		t.Errorf("%q", got)
	}
	if err := websocket.Message.Send(ws, []byte{255, 0}); err != nil {
		t.Fatal(err)
	}
	if got := frame(t, ws); got != "\x03"+`{"status":"Success"}` {
		t.Errorf("%q", got)
	}
	if err := websocket.Message.Receive(ws, new([]byte)); err == nil {
		t.Error("the session does not end")
	}
}

// TestChannelsAndAClientThatGoes: the client disconnects in the middle.
func TestChannelsAndAClientThatGoes(t *testing.T) {
	n := newNode(t)
	n.streaming.Config.Handler = spdyRuntime(t)
	web := serve(t, n, nil)
	ws := dialWebSocket(t, web, "/exec/default/web/app?command=cat&input=1&output=1", "v5.channel.k8s.io")
	if err := websocket.Message.Send(ws, []byte("\x00hello")); err != nil {
		t.Fatal(err)
	}
	frame(t, ws)
	ws.Close() // the leak check sees whether all of it ends
}

// TestTunnel carries SPDY in a WebSocket.
func TestTunnel(t *testing.T) {
	n := newNode(t)
	web := serve(t, n, nil) // the runtime echoes whatever comes, SPDY or not
	ws := dialWebSocket(t, web, "/portForward/default/web", "SPDY/3.1+portforward.k8s.io")
	if got := ws.Config().Protocol; len(got) != 1 || got[0] != "SPDY/3.1+portforward.k8s.io" {
		t.Errorf("protocol %q", got)
	}
	if _, err := io.WriteString(ws, "ping"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("/ports/box-1/[]\nping"))
	if _, err := io.ReadFull(ws, got); err != nil || !strings.HasSuffix(string(got), "ping") {
		t.Errorf("%q %v", got, err)
	}
}

// TestUnknownProtocolIsTheRuntimesToRefuse: a request with an unknown protocol is passed
// to the runtime.
func TestUnknownProtocolIsTheRuntimesToRefuse(t *testing.T) {
	n := newNode(t)
	n.streaming.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "unknown protocol "+r.Header.Get("Sec-WebSocket-Protocol"), http.StatusForbidden)
	})
	web := serve(t, n, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/exec/default/web/app?command=sh&output=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Protocol", "v9.channel.k8s.io")
	resp, err := web.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "v9.channel.k8s.io") || err != nil {
		t.Errorf("%d %q %v", resp.StatusCode, text, err)
	}
}
