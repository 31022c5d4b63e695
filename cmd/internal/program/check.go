package program

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// check refuses settings that the grammar does not allow, and a command line on which
// something is missing.
func check(kctx *kong.Context, under *below) error {
	if err := checkValues(kctx); err != nil {
		return err
	}
	for _, f := range under.files {
		if err := f.Validate(kctx.Model); err != nil {
			return err
		}
	}
	for _, path := range kctx.Path {
		if err := checkFlags(path.Flags); err != nil {
			return err
		}
	}
	return checkCommand(selected(kctx))
}

// selected is the command that the arguments name, or the program itself.
func selected(kctx *kong.Context) *kong.Node {
	if node := kctx.Selected(); node != nil {
		return node
	}
	return kctx.Model.Node
}

// checkValues refuses values that are not among those that a setting allows.
func checkValues(kctx *kong.Context) error {
	for _, path := range kctx.Path {
		node := path.Node()
		if node == nil {
			continue
		}
		for _, v := range node.Values() {
			if v.Enum == "" || !v.Set && v.Required && !v.HasDefault {
				continue // anything is allowed, or checkFlags and checkCommand report it
			}
			if err := checkEnum(v, v.Target); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkEnum(v *kong.Value, have reflect.Value) error {
	switch have.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range have.Len() {
			if err := checkEnum(v, have.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Pointer:
		if have.IsNil() {
			return nil
		}
		return checkEnum(v, have.Elem())
	}
	text, allowed := fmt.Sprint(have), v.EnumSlice()
	if slices.Contains(allowed, text) {
		return nil
	}
	for i, one := range allowed {
		allowed[i] = strconv.Quote(one)
	}
	return fmt.Errorf("%s must be one of %s but got %q", v.ShortSummary(), strings.Join(allowed, ","), text)
}

// checkFlags refuses flags of one node when two that exclude each other (the tag "xor") are
// set, or when one that is required is not. Of required flags that exclude each other one
// must be set.
func checkFlags(flags []*kong.Flag) error {
	chosen := make(map[string]*kong.Flag) // by the name of the group
	for _, f := range flags {
		for _, group := range f.Xor {
			switch other := chosen[group]; {
			case !f.Set:
			case other != nil:
				return fmt.Errorf("--%s and --%s can't be used together", other.Name, f.Name)
			default:
				chosen[group] = f
			}
		}
	}
	var missing []string
	groups := make(map[string]int) // the index in missing
	for _, f := range flags {
		if !f.Required || f.Set || slices.ContainsFunc(f.Xor, func(group string) bool { return chosen[group] != nil }) {
			continue
		}
		if len(f.Xor) > 0 {
			if i, ok := groups[f.Xor[0]]; ok {
				missing[i] += " or " + f.Summary()
				continue
			}
			groups[f.Xor[0]] = len(missing)
		}
		missing = append(missing, f.Summary())
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("missing flags: %s", strings.Join(missing, ", "))
}

// checkCommand refuses a command line that ends before an argument or a command that must
// follow.
func checkCommand(node *kong.Node) error {
	var missing []string
	for _, arg := range node.Positional {
		if arg.Required && !arg.Set {
			missing = append(missing, arg.Summary())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("expected %q", strings.Join(missing, " "))
	}
	if len(node.Children) == 0 {
		return nil
	}
	for _, child := range node.Children {
		if !child.Hidden {
			missing = append(missing, strconv.Quote(child.Name))
		}
	}
	switch {
	case len(missing) == 0:
		return errors.New("no command selected")
	case len(missing) == 1:
		return fmt.Errorf("expected %s", missing[0])
	case len(missing) > 5:
		missing = append(missing[:5], "...")
	}
	return fmt.Errorf("expected one of %s", strings.Join(missing, ", "))
}
