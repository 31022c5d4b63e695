// Package lifecycle has the one rule for types with a method Run: it runs once.
package lifecycle
