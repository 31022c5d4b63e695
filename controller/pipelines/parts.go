package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/hub"
)

// sending is one try of a batch.
type sending struct {
	c     *Controller
	node  string
	event hub.Event
	batch *wire.Batch
	p     *v1alpha1.Pipeline
	sink  *v1alpha1.Sink

	partial // of earlier tries and of this one
}

// maxWindow is how many bytes of a batch that was refused are in memory, but for one event that is
// larger.
const maxWindow = 128 << 10

// all sends the batch. If the URL refuses it, it sends parts until the events are found that it
// refuses, as sinks of kind http do on the node. An error is about what has to be tried again: the
// next try goes on behind the parts that the URL has taken.
func (s *sending) all(ctx context.Context) error {
	if s.done > 0 {
		return s.windows(ctx) // an earlier try has found that the URL refuses it as a whole
	}
	err := s.c.send(ctx, s, nil)
	if err == nil {
		s.taken = s.batch.Events
	}
	if !isRefused(err) {
		return err
	}
	if s.batch.Events > 1 && s.count() == s.batch.Events {
		return s.windows(ctx)
	}
	s.refused, s.why = s.batch.Events, err
	return nil
}

func isRefused(err error) bool {
	failed, ok := errors.AsType[*delivery.SendError](err)
	return ok && wire.RefusedStatus(failed.Status)
}

// windows reads the batch once and sends it in parts that are small enough for memory. A batch that
// is one such part was sent before.
func (s *sending) windows(ctx context.Context) error {
	body, _, err := s.body()
	if err != nil {
		return err
	}
	list := newElements(body)
	for at := 0; at < s.batch.Events; {
		p := part{at: at}
		for size := 0; at < s.batch.Events && size < maxWindow; at++ {
			raw, err := list.next()
			if err != nil {
				return &delivery.SendError{Text: "the batch cannot be read: " + err.Error(), Final: true} // count has read it
			}
			p.events = append(p.events, raw)
			size += len(raw)
		}
		if len(p.events) == s.batch.Events {
			return s.halves(ctx, p)
		}
		if err := s.part(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// part sends a part of the batch, in halves if the URL refuses it. The parts of a batch are the same at
// each try, so that their names are, too; those that are done with are left out.
func (s *sending) part(ctx context.Context, p part) error {
	end := p.at + len(p.events)
	switch {
	case end <= s.done:
		return nil
	case p.at < s.done:
		return s.halves(ctx, p) // the URL has refused it
	}
	err := s.c.send(ctx, s, &p)
	switch {
	case err == nil:
		s.taken += len(p.events)
		s.done = end
	case isRefused(err) && len(p.events) > 1:
		return s.halves(ctx, p)
	case isRefused(err):
		s.refused++
		s.done = end
		s.why, s.last, err = err, brief(p.events[0]), nil
	}
	return err
}

// halves sends the two halves of events that were refused together.
func (s *sending) halves(ctx context.Context, p part) error {
	middle := len(p.events) / 2
	if err := s.part(ctx, part{p.at, p.events[:middle]}); err != nil {
		return err
	}
	return s.part(ctx, part{p.at + middle, p.events[middle:]})
}

// headers names the batch, or a part of it.
func (s *sending) headers(h http.Header, p *part) {
	h.Set("Content-Type", "application/cloudevents-batch+json; charset=UTF-8")
	if s.batch.Events == 1 {
		h.Set("Content-Type", "application/cloudevents+json; charset=UTF-8")
	}
	id := s.event.Source + "-" + strconv.FormatUint(s.event.ID, 10)
	if p != nil {
		id += fmt.Sprintf("-%d-%d", p.at, p.at+len(p.events))
	}
	h.Set(nodeHeader, s.node)
	h.Set(idHeader, id)
	h.Set(pipelineHeader, s.p.Namespace+"/"+s.p.Name)
	h.Set(sinkHeader, string(s.sink.Name))
}

// body opens the batch, decompressed on its way.
func (s *sending) body() (io.Reader, *inflater, error) {
	if s.batch.Encoding != "gzip" {
		return bytes.NewReader(s.batch.Body), nil, nil
	}
	z, err := newInflater(s.batch.Body)
	return z, z, err
}

// count is how many events the batch has; -1 if it is no list of them, or has more than it says.
func (s *sending) count() int {
	body, _, err := s.body()
	if err != nil {
		return -1
	}
	n := 0
	for list := newElements(body); n <= s.batch.Events; n++ {
		if _, err := list.next(); err != nil {
			if err != io.EOF { //nolint:errorlint // next gives io.EOF itself
				return -1
			}
			return n
		}
	}
	return -1
}

// brief is the id of an event, as JSON.
func brief(raw json.RawMessage) string {
	var event struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(raw, &event) != nil {
		return ""
	}
	event.ID = wire.Clip(event.ID, wire.MaxMessage/2)
	text, err := json.Marshal(event)
	if err != nil {
		return ""
	}
	return string(text)
}

// part is some of the events of a batch.
type part struct {
	at     int // index of the first
	events []json.RawMessage
}

// body is the part as a list.
func (p *part) body() *bytes.Reader {
	var b []byte
	mark := byte('[')
	for _, raw := range p.events {
		b = append(append(b, mark), raw...)
		mark = ','
	}
	return bytes.NewReader(append(b, ']'))
}

// maxElement is the largest event in JSON; more is not held in memory.
const maxElement = 4 << 20

// elements reads a list in JSON one element at a time.
type elements struct {
	json  *json.Decoder
	limit *io.LimitedReader
	begun bool
}

func newElements(r io.Reader) *elements {
	limit := &io.LimitedReader{R: r}
	return &elements{json: json.NewDecoder(limit), limit: limit}
}

// next returns the next element, and io.EOF after the last.
func (e *elements) next() (json.RawMessage, error) {
	e.limit.N = maxElement
	if !e.begun {
		t, err := e.json.Token()
		if err != nil {
			return nil, noEOF(err)
		}
		if t != json.Delim('[') {
			return nil, errors.New("the batch is no list")
		}
		e.begun = true
	}
	if !e.json.More() {
		if _, err := e.json.Token(); err != nil {
			return nil, noEOF(err)
		}
		return nil, io.EOF
	}
	var raw json.RawMessage
	if err := e.json.Decode(&raw); err != nil {
		return nil, noEOF(err)
	}
	return raw, nil
}

// noEOF is an error that is not the end of the list.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
