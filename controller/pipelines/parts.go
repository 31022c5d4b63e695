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

	// Events that the URL refuses, and why it refuses the last of them.
	refused int
	why     error
	last    string // that event, as JSON
}

// all sends the batch. If the URL refuses it, it sends halves until the events are found that it
// refuses, as sinks of kind http do on the node. An error is about what has to be tried again: the
// URL may then get events twice.
func (s *sending) all(ctx context.Context) error {
	err := s.c.send(ctx, s, nil)
	if !isRefused(err) {
		return err
	}
	if s.batch.Events > 1 && s.count() == s.batch.Events {
		return s.halves(ctx, span{0, s.batch.Events})
	}
	s.refused, s.why = s.batch.Events, err
	return nil
}

func isRefused(err error) bool {
	failed, ok := errors.AsType[*delivery.SendError](err)
	return ok && wire.RefusedStatus(failed.Status)
}

// halves sends the two halves of events that were refused together.
func (s *sending) halves(ctx context.Context, of span) error {
	middle := (of.from + of.to) / 2
	for _, half := range []span{{of.from, middle}, {middle, of.to}} {
		err := s.c.send(ctx, s, &half)
		switch {
		case !isRefused(err):
		case half.to-half.from > 1:
			err = s.halves(ctx, half)
		default:
			s.refused++
			s.why, s.last, err = err, s.brief(half), nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// headers names the batch, or a part of it.
func (s *sending) headers(h http.Header, part *span) {
	h.Set("Content-Type", "application/cloudevents-batch+json; charset=UTF-8")
	if s.batch.Events == 1 {
		h.Set("Content-Type", "application/cloudevents+json; charset=UTF-8")
	}
	id := s.event.Source + "-" + strconv.FormatUint(s.event.ID, 10)
	if part != nil {
		id += fmt.Sprintf("-%d-%d", part.from, part.to)
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

// count is how many events the batch has; -1 if it is no list of them.
func (s *sending) count() int {
	body, _, err := s.body()
	if err != nil {
		return -1
	}
	n := 0
	for list := newElements(body); ; n++ {
		if _, err := list.next(); err != nil {
			if err != io.EOF { //nolint:errorlint // next gives io.EOF itself
				return -1
			}
			return n
		}
	}
}

// brief is the id of the event of a span of one, as JSON.
func (s *sending) brief(of span) string {
	body, _, err := s.body()
	if err != nil {
		return ""
	}
	list := newElements(body)
	for i := 0; ; i++ {
		raw, err := list.next()
		if err != nil {
			return ""
		}
		if i < of.from {
			continue
		}
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
}

// span is a part of a list: from, and up to but not to.
type span struct{ from, to int }

// part is a list with some of the elements of another, on its way.
type part struct {
	list *elements
	of   span
	at   int
	rest []byte // of what is to be read next
	done bool
}

// Read reads the list.
func (p *part) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.done {
			return 0, io.EOF
		}
		if p.at >= p.of.to {
			p.rest, p.done = []byte("]"), true
			continue
		}
		raw, err := p.list.next()
		if err == io.EOF { //nolint:errorlint // next gives io.EOF itself
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		if p.at++; p.at <= p.of.from {
			continue
		}
		mark := byte(',')
		if p.at == p.of.from+1 {
			mark = '['
		}
		p.rest = append([]byte{mark}, raw...)
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
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
