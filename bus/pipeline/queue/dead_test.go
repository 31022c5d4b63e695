package queue

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func addDead(t testing.TB, q *Queues, ref pipeline.Ref, list ...pipeline.DeadLetter) {
	t.Helper()
	staged, err := q.StageDead(t.Context(), ref, list)
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.cfg.Store.Apply(t.Context(), staged.Ops...)
	if staged.Done(err == nil); err != nil {
		t.Fatal(err)
	}
}

func deadIDs(t testing.TB, q *Queues) (ids, texts []string) {
	t.Helper()
	err := q.DeadLetters(t.Context(), ref, func(id string, l pipeline.DeadLetter) error {
		ids, texts = append(ids, id), append(texts, l.Step+" "+l.Reason+" "+l.Event.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, texts
}

func TestDeadLetters(t *testing.T) {
	store, clock := memstore.New(), newManual()
	queues := newQueues(t, store, clock)
	letter := pipeline.DeadLetter{Step: "hot", Reason: "ExpressionFailed", Message: strings.Repeat("é", 1000), Event: event(1)}
	addDead(t, queues, ref, letter, pipeline.DeadLetter{Step: "up", Reason: "Refused", Event: event(2)})
	addDead(t, queues, ref, pipeline.DeadLetter{Step: "up", Reason: "Refused", Event: event(3)})
	queues = newQueues(t, store, clock) // a restart
	ids, texts := deadIDs(t, queues)
	want(t, texts, "hot ExpressionFailed 1", "up Refused 2", "up Refused 3")
	err := queues.DeadLetters(t.Context(), ref, func(id string, l pipeline.DeadLetter) error {
		if id == ids[0] && (!reflect.DeepEqual(l.Event, event(1)) || l.Message != strings.Repeat("é", 512) || !l.Time.Equal(clock.Now())) {
			t.Errorf("%+v", l)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n, err := queues.DropDead(t.Context(), ref, []string{ids[1], "77"}); n != 0 || !errors.Is(err, pipeline.ErrNotFound) {
		t.Error(n, err)
	}
	if n, err := queues.DropDead(t.Context(), ref, []string{"x"}); n != 0 || !errors.Is(err, pipeline.ErrNotFound) {
		t.Error(n, err)
	}
	one := openQueue(t, queues, sinkSpec())
	if n, err := queues.Replay(t.Context(), ref, ids[1:2]); n != 1 || err != nil {
		t.Error(n, err)
	}
	if n, err := queues.Replay(t.Context(), ref, ids[:1]); n != 0 || err == nil || !strings.Contains(err.Error(), `no "hot" that takes dead letters`) {
		t.Error(n, err)
	}
	if n, err := queues.Replay(t.Context(), ref, nil); n != 1 || err != nil {
		t.Error(n, err)
	}
	want(t, drain(t, one), "2", "3")
	_, texts = deadIDs(t, queues)
	want(t, texts, "hot ExpressionFailed 1")
	if n, err := queues.DropDead(t.Context(), ref, nil); n != 1 || err != nil {
		t.Error(n, err)
	}
	if ids, _ := deadIDs(t, queues); len(ids) > 0 {
		t.Error(ids)
	}
}

// TestDeadLettersAreBounded: the oldest make room, by number and by size; a letter whose event
// cannot be stored has the rest; one that is damaged is removed.
func TestDeadLettersAreBounded(t *testing.T) {
	store := memstore.New()
	queues := newQueues(t, store, nil)
	var list []pipeline.DeadLetter
	for n := range maxLetters {
		list = append(list, pipeline.DeadLetter{Step: "s", Event: pipeline.Event{ID: fmt.Sprint(n)}})
	}
	addDead(t, queues, ref, list...)
	addDead(t, queues, ref, list[:10]...)
	if ids, texts := deadIDs(t, queues); len(ids) != maxLetters || texts[0] != "s  10" {
		t.Errorf("%d letters, the first is %s", len(ids), texts[0])
	}
	big := event(1)
	big.Data = strings.Repeat("x", 1<<20)
	for range 20 {
		addDead(t, queues, ref, pipeline.DeadLetter{Step: "big", Event: big})
	}
	if ids, texts := deadIDs(t, queues); len(ids) != 15 || texts[0] != "big  1" {
		t.Errorf("%d letters, the first is %s", len(ids), texts[0])
	}
	big.Data = strings.Repeat("x", 3<<20)
	addDead(t, queues, ref, pipeline.DeadLetter{Step: "huge", Message: "refused", Event: big}, pipeline.DeadLetter{Step: "odd", Event: pipeline.Event{ID: "odd", Data: struct{}{}}})
	var messages []string
	_ = queues.DeadLetters(t.Context(), ref, func(_ string, l pipeline.DeadLetter) error {
		messages = append(messages, l.Message)
		return nil
	})
	if n := len(messages); n < 2 || !strings.HasPrefix(messages[n-2], "refused (its data cannot be stored") {
		t.Error(messages)
	}
	d := queues.lettersOf(ref)
	n := d.list[0].number
	_, _ = store.Apply(t.Context(), meta.Op{Key: d.key(n), Value: []byte("torn")})
	before := len(d.list)
	if ids, _ := deadIDs(t, queues); len(ids) != before-1 {
		t.Errorf("%d of %d letters", len(ids), before)
	}
	staged, err := d.stage(t.Context(), list[:5])
	if err != nil {
		t.Fatal(err)
	}
	have := len(d.list)
	if staged.Done(false); len(d.list) < have {
		t.Errorf("%d letters became %d", have, len(d.list))
	}
}
