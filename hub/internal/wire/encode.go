package wire

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// AppendFrame appends f as message Frame, without the length before it.
func AppendFrame(b []byte, f Frame) []byte {
	b = protowire.AppendTag(b, f.number(), protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(f.size()))
	return f.fields(b)
}

// Size is how many bytes AppendFrame appends.
func Size(f Frame) int {
	return protowire.SizeTag(f.number()) + protowire.SizeBytes(f.size())
}

// Zero values are not written, as in proto3. Each append below has its size
// beside it, so that a frame is written once into a buffer that fits.

func appendUint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func sizeUint(n protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(n) + protowire.SizeVarint(v)
}

func appendText[T string | []byte](b []byte, n protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(v)))
	return append(b, v...)
}

func sizeText[T string | []byte](n protowire.Number, v T) int {
	if len(v) == 0 {
		return 0
	}
	return protowire.SizeTag(n) + protowire.SizeBytes(len(v))
}

// part is a message within a message.
type part interface {
	size() int
	fields(b []byte) []byte
}

func appendPart(b []byte, n protowire.Number, p part) []byte {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(p.size()))
	return p.fields(b)
}

func sizePart(n protowire.Number, p part) int {
	return protowire.SizeTag(n) + protowire.SizeBytes(p.size())
}

func bit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

// millis rounds up, so that a wait of less than a millisecond stays one.
func millis(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

func (f Hello) fields(b []byte) []byte {
	b = appendUint(b, 1, f.Min)
	b = appendUint(b, 2, f.Max)
	b = appendText(b, 3, f.Node)
	b = appendText(b, 4, f.Instance)
	b = appendText(b, 5, f.Version)
	for _, c := range f.Capabilities {
		b = appendText(b, 6, c)
	}
	b = appendUint(b, 7, millis(f.Keepalive))
	b = appendPart(b, 8, wireLimits(f.Limits))
	b = appendUint(appendUint(b, 9, f.Dial), 10, bit(f.Yield))
	for _, e := range f.Earlier {
		b = appendText(b, 11, e)
	}
	return b
}

func (f Hello) size() int {
	n := sizeUint(1, f.Min) + sizeUint(2, f.Max) + sizeText(3, f.Node) + sizeText(4, f.Instance) + sizeText(5, f.Version)
	for _, c := range f.Capabilities {
		n += sizeText(6, c)
	}
	for _, e := range f.Earlier {
		n += sizeText(11, e)
	}
	return n + sizeUint(7, millis(f.Keepalive)) + sizePart(8, wireLimits(f.Limits)) + sizeUint(9, f.Dial) + sizeUint(10, bit(f.Yield))
}

func (f Welcome) fields(b []byte) []byte {
	b = appendUint(b, 1, f.Version)
	b = appendUint(b, 2, f.Epoch)
	b = appendUint(b, 3, millis(f.Keepalive))
	b = appendPart(b, 4, wireLimits(f.Limits))
	for _, c := range f.Capabilities {
		b = appendText(b, 5, c)
	}
	return appendUint(b, 6, f.Previous)
}

func (f Welcome) size() int {
	n := sizeUint(1, f.Version) + sizeUint(2, f.Epoch) + sizeUint(3, millis(f.Keepalive)) + sizePart(4, wireLimits(f.Limits)) + sizeUint(6, f.Previous)
	for _, c := range f.Capabilities {
		n += sizeText(5, c)
	}
	return n
}

func (f GoAway) fields(b []byte) []byte {
	b = appendUint(b, 1, uint64(f.Kind))
	if f.Err != nil {
		b = appendPart(b, 2, (*wireErr)(f.Err))
	}
	return appendUint(b, 3, f.Epoch)
}

func (f GoAway) size() int {
	n := sizeUint(1, uint64(f.Kind)) + sizeUint(3, f.Epoch)
	if f.Err != nil {
		n += sizePart(2, (*wireErr)(f.Err))
	}
	return n
}

func (f Ping) fields(b []byte) []byte {
	return appendUint(appendUint(b, 1, f.ID), 2, uint64(f.RoundTrip.Microseconds()))
}
func (f Ping) size() int                { return sizeUint(1, f.ID) + sizeUint(2, uint64(f.RoundTrip.Microseconds())) }
func (f Pong) fields(b []byte) []byte   { return appendUint(appendUint(b, 1, f.ID), 2, f.Time) }
func (f Pong) size() int                { return sizeUint(1, f.ID) + sizeUint(2, f.Time) }
func (f Ack) fields(b []byte) []byte    { return appendUint(b, 1, f.Seq) }
func (f Ack) size() int                 { return sizeUint(1, f.Seq) }
func (f Cancel) fields(b []byte) []byte { return appendUint(b, 1, f.ID) }
func (f Cancel) size() int              { return sizeUint(1, f.ID) }
func (Want) fields(b []byte) []byte     { return b }
func (Want) size() int                  { return 0 }

func (f Digest) fields(b []byte) []byte {
	return appendUint(appendText(b, 1, f.Sum[:]), 2, f.Count)
}
func (f Digest) size() int { return sizeText(1, f.Sum[:]) + sizeUint(2, f.Count) }

func (f Versions) fields(b []byte) []byte {
	for i := range f.Entries {
		b = appendPart(b, 1, (*wireEntry)(&f.Entries[i]))
	}
	return appendUint(b, 2, bit(f.Last))
}

func (f Versions) size() int {
	n := sizeUint(2, bit(f.Last))
	for i := range f.Entries {
		n += sizePart(1, (*wireEntry)(&f.Entries[i]))
	}
	return n
}

// EntrySize is how many bytes an entry adds to a frame.
func EntrySize(e message.Entry) int { return sizePart(1, (*wireEntry)(&e)) }

type wireEntry message.Entry

func (e *wireEntry) fields(b []byte) []byte { return appendText(appendKey(b, &e.Key), 4, e.Version) }
func (e *wireEntry) size() int              { return sizeKey(&e.Key) + sizeText(4, e.Version) }

// A key's three fields have the numbers 1 to 3 wherever they stand.
func appendKey(b []byte, k *message.Key) []byte {
	return appendText(appendText(appendText(b, 1, k.Resource), 2, k.Namespace), 3, k.Name)
}

func sizeKey(k *message.Key) int {
	return sizeText(1, k.Resource) + sizeText(2, k.Namespace) + sizeText(3, k.Name)
}

func (f Put) fields(b []byte) []byte {
	b = appendMessage(appendUint(b, 1, f.Seq), 2, &f.Message)
	if f.Trace != nil {
		b = appendText(b, 3, *f.Trace)
	}
	return b
}

func (f Put) size() int {
	n := sizeUint(1, f.Seq) + sizeMessage(2, &f.Message)
	if f.Trace != nil {
		n += sizeText(3, *f.Trace)
	}
	return n
}

func (f Nack) fields(b []byte) []byte {
	return appendPart(appendUint(b, 1, f.Seq), 2, (*wireErr)(f.Err))
}
func (f Nack) size() int { return sizeUint(1, f.Seq) + sizePart(2, (*wireErr)(f.Err)) }

func (f Fragment) fields(b []byte) []byte {
	return appendUint(appendText(b, 1, f.Data), 2, bit(f.Last))
}
func (f Fragment) size() int { return sizeText(1, f.Data) + sizeUint(2, bit(f.Last)) }

func (f Open) fields(b []byte) []byte {
	b = appendUint(b, 1, uint64(f.Class))
	b = appendUint(b, 2, millis(f.Timeout))
	return appendMessage(b, 3, &f.Message)
}

func (f Open) size() int {
	return sizeUint(1, uint64(f.Class)) + sizeUint(2, millis(f.Timeout)) + sizeMessage(3, &f.Message)
}

func (f Response) fields(b []byte) []byte { return (*wireMessage)(&f.Message).fields(b) }
func (f Response) size() int              { return (*wireMessage)(&f.Message).size() }

func (f Marks) fields(b []byte) []byte {
	for i := range f.Entries {
		b = appendPart(b, 1, (*wireMark)(&f.Entries[i]))
	}
	return appendUint(b, 2, bit(f.Last))
}

func (f Marks) size() int {
	n := sizeUint(2, bit(f.Last))
	for i := range f.Entries {
		n += sizePart(1, (*wireMark)(&f.Entries[i]))
	}
	return n
}

// MarkSize is how many bytes a mark adds to a frame.
func MarkSize(m message.Mark) int { return sizePart(1, (*wireMark)(&m)) }

type wireMark message.Mark

func (m *wireMark) fields(b []byte) []byte { return appendUint(appendText(b, 1, m.Source), 2, m.ID) }
func (m *wireMark) size() int              { return sizeText(1, m.Source) + sizeUint(2, m.ID) }

func (f Event) fields(b []byte) []byte {
	b = appendUint(appendText(appendKey(b, &f.Key), 4, f.Source), 5, f.ID)
	return appendText(b, 8, f.Body)
}

func (f Event) size() int {
	return sizeKey(&f.Key) + sizeText(4, f.Source) + sizeUint(5, f.ID) + sizeText(8, f.Body)
}

func (f Refusal) fields(b []byte) []byte {
	return appendPart(appendUint(appendText(b, 1, f.Source), 2, f.ID), 3, (*wireErr)(f.Err))
}

func (f Refusal) size() int {
	return sizeText(1, f.Source) + sizeUint(2, f.ID) + sizePart(3, (*wireErr)(f.Err))
}

func (f Opening) fields(b []byte) []byte { return appendUint(b, 1, f.Count) }
func (f Opening) size() int              { return sizeUint(1, f.Count) }

func (f Batch) fields(b []byte) []byte { return appendText(appendUint(b, 1, f.Raw), 2, f.Data) }
func (f Batch) size() int              { return sizeUint(1, f.Raw) + sizeText(2, f.Data) }

// Messages have the large bodies, so they do not use the part interface, which would copy
// them to the heap.

func appendMessage(b []byte, n protowire.Number, m *message.Message) []byte {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64((*wireMessage)(m).size()))
	return (*wireMessage)(m).fields(b)
}

func sizeMessage(n protowire.Number, m *message.Message) int {
	return protowire.SizeTag(n) + protowire.SizeBytes((*wireMessage)(m).size())
}

type wireMessage message.Message

func (m *wireMessage) fields(b []byte) []byte {
	b = appendKey(b, &m.Key)
	b = appendText(b, 4, m.Version)
	b = appendUint(b, 5, uint64(m.Operation))
	b = appendUint(b, 6, m.ID)
	if m.Error != nil {
		b = appendPart(b, 7, (*wireErr)(m.Error))
	}
	return appendText(b, 8, m.Body)
}

func (m *wireMessage) size() int {
	n := sizeKey(&m.Key) + sizeText(4, m.Version) + sizeUint(5, uint64(m.Operation)) + sizeUint(6, m.ID) + sizeText(8, m.Body)
	if m.Error != nil {
		n += sizePart(7, (*wireErr)(m.Error))
	}
	return n
}

// AppendError appends the fields of an Error, as they stand within a frame.
func AppendError(b []byte, e *message.Error) []byte { return (*wireErr)(e).fields(b) }

// PutSize is the size of the frame that carries an object.
func PutSize(seq uint64, o message.Object) int {
	n := sizeUint(1, seq) + sizeMessage(2, &message.Message{Operation: message.Update, Key: o.Key, Version: o.Version, Body: o.Body}) + sizeText(3, o.Trace)
	return protowire.SizeTag(numPut) + protowire.SizeBytes(n)
}

// EventSize is the size of the frame that carries an event.
func EventSize(e message.Event) int { return Size(Event{e}) }

type wireErr message.Error

func (e *wireErr) fields(b []byte) []byte {
	return appendUint(appendText(appendUint(b, 1, uint64(e.Code)), 2, validText(e.Text)), 3, millis(e.RetryAfter))
}

func (e *wireErr) size() int {
	return sizeUint(1, uint64(e.Code)) + sizeText(2, validText(e.Text)) + sizeUint(3, millis(e.RetryAfter))
}

// validText makes an error's text one that a proto3 string may hold, no longer
// than it was: decoders of other languages refuse a frame that is not UTF-8.
func validText(s string) string { return strings.ToValidUTF8(s, "?") }

type wireLimits message.Limits

func (l wireLimits) fields(b []byte) []byte {
	return appendUint(appendUint(appendUint(b, 1, uint64(l.MaxFrame)), 2, uint64(l.Window)), 3, uint64(l.WindowBytes))
}

func (l wireLimits) size() int {
	return sizeUint(1, uint64(l.MaxFrame)) + sizeUint(2, uint64(l.Window)) + sizeUint(3, uint64(l.WindowBytes))
}
