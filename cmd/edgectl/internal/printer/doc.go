// Package printer prints the lists and objects of edgectl's commands: as a table, as JSON or
// YAML, or as names alone.
//
//	type thingList struct{ printer.Flags }
//
//	func (l *thingList) Run(out program.Output) error {
//		t := printer.Table{Columns: []printer.Column{{Name: "NAME"}, {Name: "AGE"}, {Name: "KEY", Wide: true}}}
//		for _, thing := range things {
//			t.Rows = append(t.Rows, printer.Row{Name: "thing/" + thing.Name, Cells: []any{thing.Name, thing.Created, thing.Key}})
//		}
//		return l.Print(out, t, printer.List[Thing]{Kind: "ThingList", Items: things})
//	}
//
// # What is stable
//
// The names of columns, and the names and types of JSON fields: scripts may use them. Columns
// and fields may be added, and the text of a cell may change. Times are ages in a table and
// RFC 3339 in JSON and YAML.
//
// # Text from others
//
// Cells and JSON may come from nodes and devices that are hostile. Control characters are
// written as \x1b, so that they cannot steer the terminal, and a cell stays on its line.
//
// Colour is used only on a terminal, for rows with a Level, and not when NO_COLOR is set.
package printer
