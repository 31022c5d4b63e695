package meta

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
)

// The form of a backup, version 1. It is the same for every Store:
//
//	the line backupHead
//	for each record, in key order:
//	    uvarint  length of the key, at least 1
//	    uvarint  length of the value
//	    uvarint  revision
//	    key, value
//	byte 0, uvarint number of records, SHA-256 of all before it
const backupHead = "edgekit store backup 1\n"

// ErrBackup is returned for a backup that is cut off or damaged, or for a file that
// is not a backup.
var ErrBackup = errors.New("meta: not a whole backup")

// Backup writes the content of the snapshot to w. The backup is not encrypted, even
// when the store is: whoever reads it can read the node's secrets.
func Backup(ctx context.Context, s Snapshot, w io.Writer) error {
	sum := sha256.New()
	buffered := bufio.NewWriter(w)
	out := io.MultiWriter(buffered, sum)
	_, err := io.WriteString(out, backupHead)
	var count uint64
	var frame []byte
	for r, next := range s.Records(ctx, "") {
		if err = errors.Join(err, next); err != nil {
			break
		}
		frame = binary.AppendUvarint(frame[:0], uint64(len(r.Key)))
		frame = binary.AppendUvarint(frame, uint64(len(r.Value)))
		frame = binary.AppendUvarint(frame, r.Revision)
		_, err = out.Write(append(append(frame, r.Key...), r.Value...))
		count++
	}
	if err == nil {
		_, err = out.Write(binary.AppendUvarint([]byte{0}, count))
	}
	if err == nil {
		_, err = buffered.Write(sum.Sum(nil))
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fmt.Errorf("meta: backup: %w", err)
	}
	return nil
}

// ReadBackup returns the records of a backup. If the backup is damaged, the last
// element is an error that wraps ErrBackup, and the caller must not use the records
// before it. A record is read in pieces, so a false length in its header does not
// make ReadBackup allocate that much.
func ReadBackup(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		in := &backupReader{in: bufio.NewReader(r), sum: sha256.New()}
		if head := in.bytes(uint64(len(backupHead))); in.err == nil && string(head) != backupHead {
			in.err = fmt.Errorf("%w: it does not begin with %q", ErrBackup, backupHead)
		}
		var count uint64
		for in.err == nil {
			record, more := in.record()
			if !more {
				break
			}
			count++
			if !yield(record, nil) {
				return
			}
		}
		in.end(count)
		if in.err != nil {
			yield(Record{}, in.err)
		}
	}
}

// Restore puts the records of a backup into an empty store. All records get new
// revisions. SyncedKey is left out, because the cloud still has to send what
// happened since the backup. When Restore fails, the records that it wrote remain;
// discard the store then.
func Restore(ctx context.Context, s Store, r io.Reader) error {
	const most = MaxBatch / 4
	var ops []Op
	size := 0
	flush := func() error {
		_, err := s.Apply(ctx, ops...)
		ops, size = ops[:0], 0
		return err
	}
	for record, err := range ReadBackup(r) {
		if err != nil {
			return err
		}
		if record.Key == SyncedKey {
			continue
		}
		if size > 0 && size+len(record.Key)+len(record.Value) > most {
			if err := flush(); err != nil {
				return fmt.Errorf("meta: restore: %w", err)
			}
		}
		ops = append(ops, Op{Key: record.Key, Value: record.Value, If: new(uint64)})
		size += len(record.Key) + len(record.Value)
	}
	if err := flush(); err != nil {
		return fmt.Errorf("meta: restore: %w", err)
	}
	return nil
}

// backupReader reads a backup and hashes what it has read. It keeps the first error.
type backupReader struct {
	in  *bufio.Reader
	sum hash.Hash
	err error
}

// record reads one record, or the byte that ends the records.
func (r *backupReader) record() (Record, bool) {
	key := r.uvarint()
	if r.err != nil || key == 0 {
		return Record{}, false
	}
	value, revision := r.uvarint(), r.uvarint()
	if r.err == nil && (key > MaxKey || value > MaxValue) {
		r.err = fmt.Errorf("%w: a record of %d and %d bytes", ErrBackup, key, value)
	}
	record := Record{Key: string(r.bytes(key)), Revision: revision}
	record.Value = r.bytes(value)
	return record, r.err == nil
}

// end reads the count and the checksum after the last record.
func (r *backupReader) end(count uint64) {
	if r.err != nil {
		return
	}
	if want := r.uvarint(); r.err == nil && want != count {
		r.err = fmt.Errorf("%w: it holds %d records, its end says %d", ErrBackup, count, want)
	}
	want := r.sum.Sum(nil)
	if have := r.bytes(sha256.Size); r.err == nil && !bytes.Equal(have, want) {
		r.err = fmt.Errorf("%w: its checksum is wrong", ErrBackup)
	}
}

// bytes reads n bytes. Its memory grows with the bytes that arrive, not with n.
func (r *backupReader) bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r.in, int64(n)); err != nil {
		r.fail(err)
		return nil
	}
	r.sum.Write(b.Bytes())
	return b.Bytes()
}

func (r *backupReader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		r.fail(err)
	}
	return n
}

// ReadByte implements io.ByteReader for binary.ReadUvarint.
func (r *backupReader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.sum.Write([]byte{b})
	}
	return b, err
}

func (r *backupReader) fail(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = fmt.Errorf("%w: %w", ErrBackup, err)
}
