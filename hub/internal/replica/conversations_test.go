package replica

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

var update = flag.Bool("update", false, "write the conversations in testdata anew")

// TestConversations plays the scripts in testdata to the pure machines. A
// script's lines that begin with ">" are what the machine asks for; every
// other line is an event, named as in play below, or a comment after "#".
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(script))
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(script) {
				t.Errorf("the conversation went otherwise (go test -update writes it anew):\n%s", got)
			}
		})
	}
}

// replay plays the events of a script and returns the script with the effects.
func replay(t *testing.T, script string) string {
	var out strings.Builder
	m := &machines{}
	for lines := bufio.NewScanner(strings.NewReader(script)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		event, _, _ := strings.Cut(line, "#")
		if words := strings.Fields(event); len(words) > 0 {
			for _, fx := range m.play(t, words) {
				fmt.Fprintln(&out, ">", describe(fx))
			}
		}
	}
	return out.String()
}

type machines struct {
	send  *StateSender
	recv  *StateReceiver
	esend *EventSender
	erecv *EventReceiver
}

// play gives one event to a machine. The switch is the scripts' language.
func (m *machines) play(t *testing.T, w []string) []Effect {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	num := func(i int) int { n, _ := strconv.Atoi(arg(i)); return n }
	switch w[0] {
	case "sender", "acker": // window count, window bytes
		m.send = NewStateSender(StateSenderConfig{
			Compare: compareDecimal, Acker: w[0] == "acker", Window: num(1), WindowBytes: num(2), MaxFrame: 1000, MaxKeys: 5, Size: wire.PutSize,
		})
		return nil
	case "receiver":
		m.recv = &StateReceiver{window: num(1), windowBytes: num(2)}
		return nil
	case "digest": // what the peer holds
		return m.send.Step(PeerDigest{sum(pairs(w[1:]))})
	case "listed":
		have := pairs(w[1:])
		return m.send.Step(SourceListed{sum(have), have})
	case "versions":
		ev := PeerVersions{Last: slices.Contains(w, "last")}
		held := pairs(w[1:])
		for _, k := range slices.SortedFunc(maps.Keys(held), compareKeys) {
			ev.Entries = append(ev.Entries, message.Entry{Key: k, Version: held[k]})
		}
		return sorted(m.send.Step(ev))
	case "changed":
		return m.send.Step(KeyChanged{message.Key{Name: arg(1)}})
	case "loaded": // key version [body size], or key "lagging", "failed", "deleted" [version]
		ev := Loaded{Key: message.Key{Name: arg(1)}, Object: message.Object{Version: arg(2), Body: make([]byte, num(3))}}
		switch arg(2) {
		case "lagging":
			ev.Err = message.ErrLagging
		case "failed":
			ev.Err = errors.New("disk on fire")
		case "deleted":
			ev.Object = message.Object{Deleted: true, Version: arg(3)}
		}
		return m.send.Step(ev)
	case "acked":
		return m.send.Step(PeerAcked{uint64(num(1))})
	case "nacked": // seq, and "final"
		return m.send.Step(PeerNacked{uint64(num(1)), reason(arg(2) == "final")})
	case "retry":
		return m.send.Step(RetryDue{})
	case "put": // seq key version [size]
		return m.recv.Step(ObjectReceived{uint64(num(1)), message.Object{Key: message.Key{Name: arg(2)}, Version: arg(3)}, max(1, num(4))})
	case "applied": // "", "final" or "failed"
		ev := Applied{}
		switch arg(1) {
		case "final":
			ev.Err = reason(true)
		case "failed":
			ev.Err = errors.New("disk on fire")
		}
		return m.recv.Step(ev)
	case "again":
		return m.recv.Step(RetryDue{})
	}
	return m.playEvents(t, w, arg, num)
}

// playEvents is the language of the event class.
func (m *machines) playEvents(t *testing.T, w []string, arg func(int) string, num func(int) int) []Effect {
	id := func(i int) uint64 { return uint64(num(i)) }
	switch w[0] {
	case "outbox": // window count, window bytes
		m.esend = &EventSender{cfg: EventSenderConfig{Window: num(1), WindowBytes: num(2), MaxFrame: 500, MaxSources: 3, Size: wire.EventSize}}
		return nil
	case "marks": // source=id, and "last"
		ev := PeerMarks{Last: slices.Contains(w, "last")}
		for _, p := range w[1:] {
			if source, n, ok := strings.Cut(p, "="); ok {
				at, _ := strconv.ParseUint(n, 10, 64)
				ev.Entries = append(ev.Entries, message.Mark{Source: source, ID: at})
			}
		}
		return m.esend.Step(ev)
	case "appended":
		return m.esend.Step(Appended{arg(1)})
	case "read": // source id [size], or source and "none" or "failed"
		ev := EventRead{Source: arg(1), Event: message.Event{Source: arg(1), ID: id(2), Body: make([]byte, num(3))}}
		switch arg(2) {
		case "none":
			ev.Err = io.EOF
		case "failed":
			ev.Err = errors.New("disk on fire")
		}
		return m.esend.Step(ev)
	case "refused": // source id
		return m.esend.Step(PeerRefused{arg(1), id(2), reason(true)})
	case "reread":
		return m.esend.Step(RetryDue{})
	case "inbox": // window count, window bytes, source=mark
		m.erecv = &EventReceiver{window: num(1), windowBytes: num(2), maxSources: 3}
		own := map[string]uint64{}
		for k, v := range pairs(w[3:]) {
			own[k.Name], _ = strconv.ParseUint(v, 10, 64)
		}
		return m.erecv.Step(OwnMarks{own})
	case "event": // source id [size]
		return m.erecv.Step(EventReceived{message.Event{Source: arg(1), ID: id(2)}, max(1, num(3))})
	case "taken": // source, and "", "final" or "failed"
		ev := AppendDone{Source: arg(1)}
		switch arg(2) {
		case "final":
			ev.Err = reason(true)
		case "failed":
			ev.Err = errors.New("disk on fire")
		}
		return m.erecv.Step(ev)
	case "retake":
		return m.erecv.Step(RetryDue{})
	}
	t.Fatalf("unknown event %q", w)
	return nil
}

func reason(final bool) *message.Error {
	if final {
		return &message.Error{Code: message.CodeInvalid, Text: "never"}
	}
	return &message.Error{Code: message.CodeUnavailable, Text: "not now"}
}

// pairs reads key=version words.
func pairs(words []string) map[message.Key]string {
	out := map[message.Key]string{}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			out[message.Key{Name: k}] = v
		}
	}
	return out
}

func sum(held map[message.Key]string) message.Digest {
	var d Digester
	for k, v := range held {
		d.Add(k, v)
	}
	return d.Sum()
}

func compareKeys(a, b message.Key) int { return cmp.Compare(a.String(), b.String()) }

func compareDecimal(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x - y
}

// sorted sorts loads, since their order is not specified.
func sorted(effects []Effect) []Effect {
	slices.SortStableFunc(effects, func(a, b Effect) int { return cmp.Compare(describe(a), describe(b)) })
	return effects
}

func describe(fx Effect) string {
	names := func(objects []message.Object) string {
		var s []string
		for _, o := range objects {
			s = append(s, o.Key.Name+"="+o.Version)
		}
		slices.Sort(s)
		return strings.Join(s, " ")
	}
	switch fx := fx.(type) {
	case ListSource:
		return "list"
	case ReportEqual:
		return "equal"
	case AskVersions:
		return "want"
	case Load:
		return fmt.Sprintf("load %s held %q", fx.Key.Name, fx.Held)
	case SendObject:
		return fmt.Sprintf("put %d %v %s=%s", fx.Seq, fx.Operation, fx.Object.Key.Name, fx.Object.Version)
	case ReportDelivered:
		return "delivered " + names(fx.Objects)
	case ReportDropped:
		return fmt.Sprintf("log %s: %v", fx.Key.Name, fx.Err)
	case RetryAfter:
		return "retry after " + fx.After.String()
	case Fail:
		return "fail " + fx.Err.Error()
	case Apply:
		return "apply " + names(fx.Objects)
	case SendAck:
		return fmt.Sprintf("ack %d", fx.Seq)
	case SendNack:
		return fmt.Sprintf("nack %d: %v", fx.Seq, fx.Err)
	case ReadNext:
		return fmt.Sprintf("read %s after %d", fx.Source, fx.After)
	case SendEvent:
		return fmt.Sprintf("event %s %d", fx.Event.Source, fx.Event.ID)
	case ForgetEvents:
		return fmt.Sprintf("forget %s %d", fx.Source, fx.ID)
	case ReportLost:
		return fmt.Sprintf("log %s %d: %v", fx.Source, fx.ID, fx.Err)
	case AppendEvents:
		ids := fx.Source
		for _, e := range fx.Events {
			ids += fmt.Sprint(" ", e.ID)
		}
		return "take " + ids
	case SendMark:
		return fmt.Sprintf("mark %s %d", fx.Source, fx.ID)
	case SendRefusal:
		return fmt.Sprintf("refuse %s %d: %v", fx.Source, fx.ID, fx.Err)
	}
	return fmt.Sprintf("%T", fx)
}
