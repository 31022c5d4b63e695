package printer

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// The formats.
const (
	FormatTable = "table"
	FormatWide  = "wide" // a table with all columns
	FormatJSON  = "json"
	FormatYAML  = "yaml"
	FormatName  = "name" // KIND/NAME, one a line
)

// Flags are the flags of every command that prints a list or an object. Embed them.
type Flags struct {
	Output    string `help:"Form of the output: table, wide (a table with all columns), json, yaml, or name. Names of columns and of JSON fields are stable." short:"o" enum:"table,wide,json,yaml,name" default:"table" placeholder:"FORM"`
	NoHeaders bool   `help:"Print no names of columns." name:"no-headers"`
}

// Column is a column of a Table.
type Column struct {
	Name string // in capitals, as people see it
	Wide bool   // only with --output wide
}

// Level says how a row is marked on a terminal.
type Level int

// The levels.
const (
	LevelNone    Level = iota
	LevelWarning       // yellow
	LevelError         // red
)

// Row is a row of a Table.
type Row struct {
	Name string // KIND/NAME, for --output name
	// Cells are one for each column. A time.Time is printed as an age, a zero time, nil and ""
	// as "-", anything else as fmt.Print does.
	Cells []any
	Level Level
}

// Table is what people read.
type Table struct {
	Columns []Column
	Rows    []Row
	Now     time.Time // ages are counted from it; zero means time.Now
}

// List is the JSON of a list.
type List[T any] struct {
	Kind  string `json:"kind"`  // for example JoinTokenList
	Items []T    `json:"items"` // never null
}

// NewList returns a list of items; nil gives an empty list.
func NewList[T any](kind string, items []T) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{kind, items}
}

// Structured reports whether JSON or YAML was asked for.
func (f Flags) Structured() bool { return f.Output == FormatJSON || f.Output == FormatYAML }

// Print prints t, or object where JSON or YAML was asked for.
func (f Flags) Print(out io.Writer, t Table, object any) error {
	switch f.Output {
	case FormatJSON, FormatYAML:
		return f.PrintObject(out, object)
	case FormatName:
		for _, r := range t.Rows {
			if r.Name == "" {
				continue
			}
			if _, err := fmt.Fprintln(out, cellText(r.Name, t.Now)); err != nil {
				return err
			}
		}
		return nil
	}
	return t.write(out, f.Output == FormatWide, f.NoHeaders)
}

// PrintObject prints an object as JSON or YAML; as JSON unless YAML was asked for. A
// json.RawMessage is printed with its own fields, in their order.
func (f Flags) PrintObject(out io.Writer, object any) error {
	plain := program.PlainJSON(out)
	if f.Output != FormatYAML {
		to := json.NewEncoder(plain)
		to.SetEscapeHTML(false)
		to.SetIndent("", "  ")
		return to.Encode(object)
	}
	raw, ok := object.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(object); err != nil {
			return err
		}
	}
	text, err := yaml.JSONToYAML(raw)
	if err != nil {
		return err
	}
	_, err = program.Plain(out).Write(text)
	return err
}
