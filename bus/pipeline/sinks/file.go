package sinks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
	"github.com/edgekit/edgekit/bus/pipeline/internal/rotate"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// fileSink appends a CloudEvent in JSON as a line for each event. Lines are synced before Send
// returns. Compressed, each Send is a frame of its own: zstd -d and gunzip read the file.
type fileSink struct {
	env     pipeline.Env
	path    string
	rule    rotate.Rule
	folder  *rotate.Folder
	packing compress.Kind

	mu   sync.Mutex
	file *rotate.Lines // nil while none is open
	born time.Time     // of the first line, as far as is known
}

func openFile(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	rule, err := rotate.ParseRule(spec.File)
	if err != nil {
		return nil, specError(spec, err)
	}
	folder, err := rotate.NewFolder(env.Files, spec.File.Path)
	if err != nil {
		return nil, specError(spec, err)
	}
	s := &fileSink{env: env, path: path.Clean(spec.File.Path), rule: rule, folder: folder, packing: compress.None}
	if spec.Batch != nil {
		if s.packing, err = compress.Parse(spec.Batch.Compression); err != nil {
			return nil, specError(spec, fmt.Errorf("batch.compression: %w", err))
		}
	}
	return s, nil
}

func (s *fileSink) Send(_ context.Context, events []pipeline.Event) error {
	b, n, after, err := sendable(events, func(events []pipeline.Event) ([]byte, error) { return appendLines(nil, events, appendCloudEvent) })
	if err == nil && n > 0 {
		if b, err = compress.Encode(s.packing, b); err == nil {
			err = s.write(b)
		}
	}
	if err == nil {
		err = after
	}
	if err != nil {
		return fmt.Errorf("bus/pipeline/sinks: file: %w", err)
	}
	return nil
}

// write appends b whole, or nothing.
func (s *fileSink) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Clock.Now()
	if s.file == nil {
		if err := s.openLocked(now); err != nil {
			return err
		}
	}
	if s.file.Size() > 0 && (s.file.Size()+int64(len(b)) > s.rule.Size || s.rule.Age > 0 && now.Sub(s.born) >= s.rule.Age) {
		if err := s.rotateLocked(now); err != nil {
			return err
		}
	}
	if s.file.Size() == 0 {
		s.born = now
	}
	if err := s.file.Append(b); err != nil {
		return errors.Join(err, s.closeLocked())
	}
	return nil
}

// openLocked opens the file and cuts off a line that a power cut has left unfinished. Of a
// compressed file the frame is not known: it is rotated away.
func (s *fileSink) openLocked(now time.Time) error {
	root, err := s.folder.Root()
	if err != nil {
		return err
	}
	if dir := path.Dir(s.path); dir != "." {
		if err := root.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	info, err := root.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file but %s", s.path, info.Mode().Type())
	case s.packing != compress.None && info.Size() > 0:
		if err := rotate.Away(root, s.path, now, s.rule.Keep); err != nil {
			return err
		}
	}
	f, err := rotate.OpenLines(root, s.path)
	if err != nil {
		return err
	}
	s.file, s.born = f, now
	if info != nil {
		s.born = info.ModTime()
	}
	return nil
}

func (s *fileSink) rotateLocked(now time.Time) error {
	if err := s.closeLocked(); err != nil {
		return err
	}
	root, err := s.folder.Root()
	if err != nil {
		return err
	}
	if err := rotate.Away(root, s.path, now, s.rule.Keep); err != nil {
		return err
	}
	return s.openLocked(now)
}

func (s *fileSink) closeLocked() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

func (s *fileSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.closeLocked(), s.folder.Close())
}
