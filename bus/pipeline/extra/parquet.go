package extra

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/internal/rotate"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// journalSuffix ends the name of a journal: FILE.TIME.EXT.journal becomes FILE.TIME.EXT.
const (
	journalSuffix = ".journal"
	temporary     = ".tmp"
)

// Row is one event in a Parquet file.
type Row struct {
	ID      string    `parquet:"id"`
	Source  string    `parquet:"source,dict"`
	Type    string    `parquet:"type,dict"`
	Subject string    `parquet:"subject,dict"`
	Time    time.Time `parquet:"time,timestamp(microsecond)"`
	Data    string    `parquet:"data,json"` // JSON
}

// parquetSink keeps events in a journal until a Parquet file is made of it: a Parquet file can
// be read only when it is complete.
type parquetSink struct {
	env     pipeline.Env
	path    string
	rule    rotate.Rule
	folder  *rotate.Folder
	packing parquet.WriterOption

	mu      sync.Mutex
	journal *rotate.Lines // nil while none is open
	name    string        // of the Parquet file that the journal becomes
	born    time.Time     // of the journal
}

func openParquet(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	rule, err := rotate.ParseRule(spec.File)
	if err != nil {
		return nil, specError(spec, err)
	}
	folder, err := rotate.NewFolder(env.Files, spec.File.Path)
	if err != nil {
		return nil, specError(spec, err)
	}
	packing, err := compression(spec, "zstd", "gzip", "none")
	if err != nil {
		return nil, err
	}
	s := &parquetSink{env: env, path: path.Clean(spec.File.Path), rule: rule, folder: folder, packing: parquet.Compression(&parquet.Uncompressed)}
	switch packing {
	case "zstd":
		s.packing = parquet.Compression(&parquet.Zstd)
	case "gzip":
		s.packing = parquet.Compression(&parquet.Gzip)
	}
	return s, nil
}

func (s *parquetSink) Send(_ context.Context, events []pipeline.Event) error {
	var lines []byte
	var after error
	for i := range events {
		b, err := cloudevents.AppendJSON(lines, &events[i])
		if err != nil {
			after = refused(i, err)
			break
		}
		lines = append(b, '\n')
	}
	err := s.write(lines)
	if err == nil {
		err = after
	}
	if err != nil {
		return fmt.Errorf("bus/pipeline/extra: parquet: %w", err)
	}
	return nil
}

func (s *parquetSink) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	root, err := s.folder.Root()
	if err != nil {
		return err
	}
	now := s.env.Clock.Now()
	if s.journal == nil {
		if err := s.openLocked(root, now); err != nil {
			return err
		}
	}
	if n := s.journal.Size(); n > 0 && (n+int64(len(lines)) > s.rule.Size || s.rule.Age > 0 && now.Sub(s.born) >= s.rule.Age) {
		if err := s.convertLocked(root); err != nil {
			return err
		}
		if err := s.createLocked(root, now); err != nil {
			return err
		}
	}
	if err := s.journal.Append(lines); err != nil {
		return errors.Join(err, s.closeLocked())
	}
	return nil
}

// openLocked goes on with the journal of an earlier run, or begins one. A journal whose Parquet
// file is there already was converted before a kill.
func (s *parquetSink) openLocked(root *os.Root, now time.Time) error {
	if dir := path.Dir(s.path); dir != "." {
		if err := root.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	journals, err := s.journals(root)
	if err != nil {
		return err
	}
	for i, name := range journals {
		final := strings.TrimSuffix(name, journalSuffix)
		if _, err := root.Lstat(final); err == nil {
			if err := root.Remove(name); err != nil {
				return err
			}
			continue
		}
		if i == len(journals)-1 {
			return s.useLocked(root, final)
		}
		if err := s.makeFile(root, final); err != nil { // a kill came between two journals
			return err
		}
	}
	return s.createLocked(root, now)
}

// journals lists the journals of the file, oldest first.
func (s *parquetSink) journals(root *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), path.Dir(s.path))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		final, ok := strings.CutSuffix(e.Name(), journalSuffix)
		if _, mine := rotate.Time(path.Base(s.path), final); ok && mine && e.Type().IsRegular() { // another sink's may begin alike
			out = append(out, path.Join(path.Dir(s.path), e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

func (s *parquetSink) createLocked(root *os.Root, now time.Time) error {
	final, err := rotate.NextName(root, s.path, now)
	if err != nil {
		return err
	}
	return s.useLocked(root, final)
}

func (s *parquetSink) useLocked(root *os.Root, final string) error {
	journal, err := rotate.OpenLines(root, final+journalSuffix)
	if err != nil {
		return err
	}
	s.journal, s.name = journal, final
	if born, ok := rotate.Time(s.path, final); ok {
		s.born = born
	}
	return nil
}

func (s *parquetSink) closeLocked() error {
	if s.journal == nil {
		return nil
	}
	err := s.journal.Close()
	s.journal = nil
	return err
}

// convertLocked makes a Parquet file of the journal.
func (s *parquetSink) convertLocked(root *os.Root) error {
	if err := s.closeLocked(); err != nil {
		return err
	}
	if err := s.makeFile(root, s.name); err != nil {
		return err
	}
	return rotate.Prune(root, s.path, s.rule.Keep)
}

// makeFile makes the Parquet file of a name from its journal: whole or not at all.
func (s *parquetSink) makeFile(root *os.Root, final string) error {
	journal, err := root.Open(final + journalSuffix)
	if err != nil {
		return err
	}
	defer journal.Close()
	out, err := root.OpenFile(final+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	err = s.convert(journal, out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, root.Remove(final+temporary))
	}
	if err := root.Rename(final+temporary, final); err != nil {
		return err
	}
	return root.Remove(final + journalSuffix)
}

// convert writes the rows of a journal, some at a time. A line that is damaged is left out and
// logged.
func (s *parquetSink) convert(journal, out *os.File) error {
	w := parquet.NewGenericWriter[Row](out, s.packing, parquet.MaxRowsPerRowGroup(10_000), parquet.PageBufferSize(64<<10), parquet.WriteBufferSize(64<<10))
	lines := bufio.NewScanner(journal)
	lines.Buffer(make([]byte, 0, 64<<10), 4<<20)
	rows := make([]Row, 0, 100)
	for more := true; more; {
		if more = lines.Scan(); more {
			row, err := rowOf(lines.Bytes())
			if err != nil {
				s.env.Logger.Warn("a line of a journal is damaged and left out", "file", s.path, "err", err)
				continue
			}
			rows = append(rows, row)
		}
		if len(rows) == cap(rows) || !more {
			if _, err := w.Write(rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	return errors.Join(lines.Err(), w.Close())
}

func rowOf(line []byte) (Row, error) {
	e, err := cloudevents.Decode(bytes.TrimSpace(line))
	if err != nil {
		return Row{}, err
	}
	data, err := codec.AppendJSON(nil, e.Data)
	if err != nil {
		return Row{}, err
	}
	return Row{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: e.Time, Data: string(data)}, nil
}

// Close leaves the journal for the next Open.
func (s *parquetSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.closeLocked(), s.folder.Close())
}
