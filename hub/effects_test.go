package hub

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/internal/load"
	"github.com/edgekit/edgekit/hub/internal/replica"
)

// TestEveryEffectIsPerformed checks that a session performs each type of effect that
// package replica declares. Add a new type here and to perform.
func TestEveryEffectIsPerformed(t *testing.T) {
	tested := make(map[string]bool)
	for _, fx := range []replica.Effect{
		replica.Fail{}, replica.ListSource{}, replica.ReportEqual{}, replica.AskVersions{}, replica.Load{},
		replica.SendObject{}, replica.ReportDelivered{}, replica.ReportBehind{}, replica.ReportDropped{Err: ErrTooLarge},
		replica.Apply{}, replica.SendAck{}, replica.SendNack{}, replica.ReadNext{}, replica.SendEvent{},
		replica.ForgetEvents{}, replica.ReportLost{Err: ErrTooLarge}, replica.AppendEvents{}, replica.SendMark{}, replica.SendRefusal{},
		replica.RetryAfter{},
	} {
		tested[strings.TrimPrefix(fmt.Sprintf("%T", fx), "replica.")] = true
		s := newSession(t.Context(), sessionConfig{line: newLine(nil, nil), log: discard(), stats: newCounters()})
		s.reason = errors.New("this session is over, so that it starts nothing")
		err := s.perform(fx)
		if _, driver := fx.(replica.RetryAfter); driver {
			if err == nil {
				t.Error("RetryAfter is the driver's, and perform took it")
			}
			continue
		}
		if err != nil {
			t.Error(err)
		}
		s.cancel()
	}
	file, err := parser.ParseFile(token.NewFileSet(), "internal/replica/effects.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "effect" {
			continue
		}
		declared++
		if name := f.Recv.List[0].Type.(*ast.Ident).Name; !tested[name] {
			t.Errorf("effect %s is not tested here", name)
		}
	}
	if declared != len(tested) {
		t.Errorf("effects.go declares %d effects, tested were %d", declared, len(tested))
	}
}

// stubMachine asks for one effect.
type stubMachine struct{ fx replica.Effect }

func (m stubMachine) Step(replica.StateSenderEvent) []replica.Effect { return []replica.Effect{m.fx} }

// unknownEffect is an effect that no code handles.
type unknownEffect struct{ replica.Effect }

// TestUnknownEffect: a machine returns an effect that the session does not know. The
// session ends instead of ignoring it. The driver handles RetryAfter.
func TestUnknownEffect(t *testing.T) {
	s := newSession(t.Context(), sessionConfig{line: newLine(pipeConn{}, nil), log: discard(), stats: newCounters(), timers: new(load.TimerHeap)})
	s.stateSend.machine = stubMachine{replica.RetryAfter{After: time.Hour}}
	s.stateSend.feed(s, replica.KeyChanged{})
	if s.stateSend.retry == nil || s.reason != nil {
		t.Fatalf("timer %v, reason %v", s.stateSend.retry, s.reason)
	}
	s.stateSend.machine = stubMachine{unknownEffect{}}
	s.stateSend.feed(s, replica.KeyChanged{})
	s.wg.Wait()
	if s.reason == nil || !strings.Contains(s.reason.Error(), "unknownEffect") {
		t.Errorf("the session ended with %v", s.reason)
	}
}

// pipeConn is a connection that can only be closed.
type pipeConn struct{ Conn }

func (pipeConn) Close() error { return nil }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
