package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleExpressions() {
	p, err := pipelinetest.Expressions{}.Compile("event.data.celsius * 1.8 + 32 > 80", pipeline.Types{Result: pipeline.Bool})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Eval(&pipeline.Vars{Event: &pipeline.Event{Data: map[string]any{"celsius": 30.0}}}))
	// Output: true <nil>
}

func TestExpressions(t *testing.T) {
	e := &pipeline.Event{ID: "7", Data: map[string]any{"n": int64(3), "s": "x", "o": map[string]any{"b": true}}}
	for _, c := range []struct {
		text string
		want any
		err  string
	}{
		{"1 + 2 * 3", 7.0, ""}, {"(1 + 2) * 3", 9.0, ""}, {"-event.data.n", -3.0, ""}, {"event.data.s + 'y'", "xy", ""},
		{"event.data.n == 3 && event.id == '7'", true, ""}, {"false && event.data.none", false, ""}, {"!event.data.o.b || node == 'm'", false, ""},
		{"event.data.s < 'y'", true, ""}, {"null == null", true, ""}, {"1 / 0", nil, "division by zero"}, {"event.data.none", nil, "no such key"},
		{"1 +", nil, "missing"}, {"(1", nil, "not closed"}, {"'a", nil, "not closed"}, {"1 1", nil, "unexpected"}, {"event", nil, "needs a field"},
		{strings.Repeat("(", 1000), nil, "too many brackets"}, {"event.data.s > 1", nil, "cannot be used"},
	} {
		p, err := pipelinetest.Expressions{}.Compile(c.text, pipeline.Types{})
		var have any
		if err == nil {
			have, err = p.Eval(&pipeline.Vars{Event: e, Node: "n"})
		}
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) || err == nil && have != c.want {
			t.Errorf("%.40s: %v %v, want %v %q", c.text, have, err, c.want, c.err)
		}
	}
}

func TestClock(t *testing.T) {
	c := pipelinetest.NewClock(time.Unix(0, 0))
	a, b := c.NewTimer(time.Second), c.NewTimer(2*time.Second)
	c.Advance(time.Second)
	select {
	case <-a.C():
	default:
		t.Error("the first timer has not fired")
	}
	select {
	case <-b.C():
		t.Error("the second timer has fired")
	default:
	}
	if !b.Stop() || a.Stop() {
		t.Error("Stop says what is not so")
	}
	b.Reset(time.Second)
	c.Advance(time.Second)
	if now := <-b.C(); !now.Equal(time.Unix(2, 0)) {
		t.Error(now)
	}
}

// TestFeeds looks at the fakes that pass on what they are given.
func TestFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var broker pipelinetest.Broker
		var twins pipelinetest.Twins
		var logs pipelinetest.ContainerLogs
		seen := make(chan string, 10)
		done := make(chan error, 3)
		twins.Report(pipeline.TwinValue{Device: "d", Property: "p", Value: 1.0})
		go func() {
			done <- broker.Consume(ctx, "n", pipeline.Subscription{Filter: "a/+"}, func(_ context.Context, m bus.Message, ack func()) error {
				ack()
				seen <- m.Topic
				return nil
			})
		}()
		go func() {
			done <- twins.Watch(ctx, v1alpha1.TwinSource{Devices: []string{"d"}}, func(_ context.Context, v pipeline.TwinValue) error {
				seen <- fmt.Sprint(v.Device, v.Value)
				return nil
			})
		}()
		go func() {
			done <- logs.Follow(ctx, "n", v1alpha1.ContainerLogsSource{Container: "c"}, func(_ context.Context, l pipeline.LogLine, ack func()) error {
				ack()
				seen <- l.Text
				return nil
			})
		}()
		synctest.Wait()
		if s := <-seen; s != "d1" {
			t.Error(s)
		}
		for _, topic := range []string{"b/c", "a/b"} {
			if err := broker.Publish(ctx, bus.Message{Topic: topic}); err != nil {
				t.Error(err)
			}
		}
		if s := <-seen; s != "a/b" || broker.Acks() != 1 {
			t.Error(s)
		}
		twins.Report(pipeline.TwinValue{Device: "other", Property: "p"})
		twins.Report(pipeline.TwinValue{Device: "d", Property: "p", Value: 2.0})
		if s := <-seen; s != "d2" {
			t.Error(s)
		}
		logs.Write(pipeline.LogLine{Container: "c", Text: "line"})
		if s := <-seen; s != "line" || logs.Done() != 1 {
			t.Error(s)
		}
		broker.Fail(errors.New("away"))
		if err := broker.Publish(ctx, bus.Message{Topic: "a/b"}); err == nil || len(broker.Published()) != 2 {
			t.Error(err, broker.Published())
		}
		cancel()
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
