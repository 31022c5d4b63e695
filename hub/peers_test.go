package hub_test

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// lastOldFrame is the newest frame that the first release knows.
const lastOldFrame = 15

// TestOldPeers replays what peers of earlier releases sent. Such a peer gets no frame
// that it does not know, and state is delivered both ways; events wait in their outbox.
func TestOldPeers(t *testing.T) {
	pod := hub.Key{Resource: "pods", Namespace: "default", Name: "web"}
	t.Run("edge", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
			dir.Down("a").Put(pod, 7, `{"kind":"Pod"}`)
			dir.Outbox("a").Append("s", pod, "it rained")
			server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: dir})
			if err != nil {
				t.Fatal(err)
			}
			stop := program(t, server.Run)
			conn, s := dialRaw(t, n, "a")
			playOld(t, "testdata/peers/edge.txt", s)
			synctest.Wait()
			if got := dir.Up("a").Held(hub.Key{Resource: "pods/status", Namespace: "default", Name: "web"}); got != "7" {
				t.Errorf("the report is at version %q", got)
			}
			if infos := dir.Infos(); len(infos) != 2 || infos[1].Connected {
				t.Errorf("client infos %+v", infos)
			}
			if dir.Outbox("a").Len() != 1 {
				t.Error("the event did not wait")
			}
			conn.Close()
			stop()
		})
	})
	t.Run("cloud", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, sink, outbox := memconn.New(memconn.Config{}), &hubtest.Sink{}, &hubtest.Outbox{}
			outbox.Append("s", pod, "it rained")
			client, err := hub.NewClient(hub.ClientConfig{
				Dialer: n.Dialer("a"), Node: "a", Down: sink, Up: &hubtest.AckedSource{}, Outbox: outbox, Inbox: &hubtest.Inbox{},
			})
			if err != nil {
				t.Fatal(err)
			}
			stop := program(t, client.Run)
			conn, err := n.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s, err := conn.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			playOld(t, "testdata/peers/cloud.txt", s)
			synctest.Wait()
			if sink.Held(pod) != "7" || outbox.Len() != 1 {
				t.Errorf("the pod is at version %q, %d events wait", sink.Held(pod), outbox.Len())
			}
			conn.Close()
			stop()
		})
	})
}

// playOld plays a script of testdata/peers over the control stream.
func playOld(t *testing.T, script string, s hub.Stream) {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(s)
	for line := range strings.Lines(string(text)) {
		what, _, _ := strings.Cut(line, "#")
		words := strings.Fields(what)
		if len(words) == 0 {
			continue
		}
		if words[0] == "old" {
			b, err := hex.DecodeString(words[1])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write(b); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			continue
		}
		for want := words[1:]; len(want) > 0; {
			got := strconv.Itoa(int(frameNumber(t, r)))
			want = slices.DeleteFunc(want, func(w string) bool { return w == got })
		}
	}
}

// frameNumber reads a frame and gives its number in message Frame.
func frameNumber(t *testing.T, r *bufio.Reader) protowire.Number {
	t.Helper()
	n, err := binary.ReadUvarint(r)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	number, _, _ := protowire.ConsumeTag(b)
	if number > lastOldFrame {
		t.Errorf("frame %d was sent, which the peer does not know", number)
	}
	return number
}
