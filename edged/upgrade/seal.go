package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

const (
	recordVersion = 1
	maxRecord     = 64 << 10 // bytes of a record's file
)

// seal gives the content of a record's file: one line with its head, the version and the checksum,
// and then the record as JSON.
func seal(head string, record any) ([]byte, error) {
	body, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, "%s %d %08x\n%s", head, recordVersion, crc32.ChecksumIEEE(body), body)
	if len(text) > maxRecord {
		return nil, fmt.Errorf("upgrade: the %s would have %d bytes, more than %d", head, len(text), maxRecord)
	}
	return text, nil
}

// unseal reads what seal wrote with the same head, and refuses all else. Its errors say what is
// wrong with the file, and do not name it.
func unseal(head string, text []byte, record any) error {
	if len(text) > maxRecord {
		return fmt.Errorf("it has more than %d bytes", maxRecord)
	}
	first, body, ok := bytes.Cut(text, []byte("\n"))
	rest, known := bytes.CutPrefix(first, []byte(head+" "))
	number, sum, three := bytes.Cut(rest, []byte(" "))
	if !ok || !known || !three || len(sum) != 8 {
		return errors.New("its first line is wrong")
	}
	if string(number) != strconv.Itoa(recordVersion) {
		return fmt.Errorf("this program does not know its version %.20q", number)
	}
	if want, err := strconv.ParseUint(string(sum), 16, 32); err != nil || uint32(want) != crc32.ChecksumIEEE(body) {
		return errors.New("its checksum is wrong")
	}
	return json.Unmarshal(body, record)
}
