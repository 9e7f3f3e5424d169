// Audits a journal with golang.org/x/mod/sumdb/note and tlog, the reference implementation of signed notes and tiles, and
// with nothing of ours: it reads only what an auditor gets, which is the log's directory, public keys, and what was kept
// before (older checkpoints, proof files). Ends non-zero at the first thing that does not hold.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	directory := flag.String("tlog", "", "the log's directory")
	keyFile := flag.String("key", "", "the file of the key that signs checkpoints")
	witnessFile := flag.String("witness", "", "the file of the witness's key; the checkpoint must then be cosigned")
	hardwareFile := flag.String("hardware", "", "the file of the TPM's or HSM's key; the checkpoint must then bear its signature too")
	older := flag.String("older", "", "a directory of older checkpoints")
	proofs := flag.String("proofs", "", "a directory of proof files")
	flag.Parse()
	if err := audit(*directory, *keyFile, *hardwareFile, *witnessFile, *older, *proofs); err != nil {
		fmt.Fprintln(os.Stderr, "journal-audit:", err)
		os.Exit(1)
	}
}

func audit(directory, keyFile, hardwareFile, witnessFile, older, proofs string) error {
	log, err := readKey(keyFile)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(log)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	var witness note.Verifier
	if witnessFile != "" {
		text, err := readKey(witnessFile)
		if err != nil {
			return err
		}
		if witness, err = newCosigner(text); err != nil {
			return fmt.Errorf("%s: %w", witnessFile, err)
		}
	}
	tree, err := readCheckpoint(filepath.Join(directory, "checkpoint"), verifier, witness)
	if err != nil {
		return err
	}
	// Until here its signature was one of an unknown key, and was passed over.
	hardware := ""
	if hardwareFile != "" {
		if err := checkHardware(filepath.Join(directory, "checkpoint"), hardwareFile); err != nil {
			return err
		}
		hardware = ", by the hardware key too"
	}
	reader := &files{directory: directory}
	entries, err := checkEntries(tree, reader)
	if err != nil {
		return err
	}
	tiles := len(reader.read)
	included, err := checkInclusion(tree, reader, entries)
	if err != nil {
		return err
	}
	consistent, err := checkOlder(tree, reader, older, verifier)
	if err != nil {
		return err
	}
	proven, err := checkProofs(proofs, verifier, witness)
	if err != nil {
		return err
	}
	refused, err := tamper(tree, directory, reader.read)
	if err != nil {
		return err
	}
	cosigned := ""
	if witness != nil {
		cosigned = " and cosigned"
	}
	fmt.Printf("journal-audit: a checkpoint of %d records, signed%s%s; %d entries and %d tiles hold, %d inclusion proofs, "+
		"%d older checkpoints consistent, %d records in proof files; %d changed tiles refused\n",
		tree.N, hardware, cosigned, len(entries), tiles, included, consistent, proven, refused)
	return nil
}

func readKey(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// readCheckpoint opens a note and reads its three lines: tlog.ParseTree knows the Go checksum database's own alone.
func readCheckpoint(path string, log, witness note.Verifier) (tlog.Tree, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := parseCheckpoint(text, log, witness)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return tree, err
}

func parseCheckpoint(text []byte, log, witness note.Verifier) (tlog.Tree, error) {
	var tree tlog.Tree
	known := []note.Verifier{log}
	if witness != nil {
		known = append(known, witness)
	}
	opened, err := note.Open(text, note.VerifierList(known...))
	if err != nil {
		return tree, err
	}
	for _, wanted := range known {
		signed := false
		for _, signature := range opened.Sigs {
			signed = signed || signature.Name == wanted.Name() && signature.Hash == wanted.KeyHash()
		}
		if !signed {
			return tree, fmt.Errorf("not signed by %s", wanted.Name())
		}
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != log.Name() {
		return tree, errors.New("not a checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// checkHardware opens the note with the key of a TPM or an HSM alone: ECDSA over the text, signature type 0x02.
func checkHardware(path, keyFile string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	verifier, err := newHardware(key)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	if _, err := note.Open(text, note.VerifierList(verifier)); err != nil {
		return fmt.Errorf("%s: by the hardware key: %w", path, err)
	}
	return nil
}

type hardware struct {
	name string
	hash uint32
	key  *ecdsa.PublicKey
}

func newHardware(text string) (note.Verifier, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not name+id+key")
	}
	typed, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(typed) < 2 || typed[0] != 0x02 {
		return nil, errors.New("not a key of type 0x02")
	}
	parsed, err := x509.ParsePKIXPublicKey(typed[1:])
	if err != nil {
		return nil, err
	}
	key, isECDSA := parsed.(*ecdsa.PublicKey)
	sum := sha256.Sum256(typed[1:])
	if !isECDSA || parts[1] != hex.EncodeToString(sum[:4]) {
		return nil, errors.New("not an ECDSA key with its id")
	}
	return &hardware{parts[0], binary.BigEndian.Uint32(sum[:4]), key}, nil
}

func (h *hardware) Name() string    { return h.name }
func (h *hardware) KeyHash() uint32 { return h.hash }

func (h *hardware) Verify(text, signature []byte) bool {
	sum := sha256.Sum256(text)
	return ecdsa.VerifyASN1(h.key, sum[:], signature)
}

// files reads tiles from plain files. tlog.Tile.Path has the height in it, C2SP's paths do not.
type files struct {
	directory string
	read      []string
	seen      map[string]bool
	// The file to change, and the byte.
	change string
	at     int
}

func (f *files) Height() int                          { return height }
func (f *files) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (f *files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		path := tilePath(strconv.Itoa(tile.L), tile.N, tile.W)
		bytes, err := os.ReadFile(filepath.Join(f.directory, path))
		if os.IsNotExist(err) && tile.W < 1<<height {
			path = tilePath(strconv.Itoa(tile.L), tile.N, 1<<height)
			if bytes, err = os.ReadFile(filepath.Join(f.directory, path)); err == nil {
				bytes = bytes[:tile.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		if path == f.change {
			bytes[f.at%len(bytes)] ^= 1
		}
		if !f.seen[path] {
			if f.seen == nil {
				f.seen = map[string]bool{}
			}
			f.seen[path] = true
			f.read = append(f.read, path)
		}
		data = append(data, bytes)
	}
	return data, nil
}

func tilePath(kind string, number int64, width int) string {
	name := fmt.Sprintf("%03d", number%1000)
	for number >= 1000 {
		number /= 1000
		name = fmt.Sprintf("x%03d/%s", number%1000, name)
	}
	if width < 1<<height {
		name = fmt.Sprintf("%s.p/%d", name, width)
	}
	return "tile/" + kind + "/" + name
}

// checkEntries reads every bundle and holds each entry's hash against the tiles, and those against the root.
func checkEntries(tree tlog.Tree, reader *files) ([][]byte, error) {
	hashes := tlog.TileHashReader(tree, reader)
	var entries [][]byte
	for number := int64(0); number*(1<<height) < tree.N; number++ {
		width := tree.N - number*(1<<height)
		if width > 1<<height {
			width = 1 << height
		}
		path := tilePath("entries", number, int(width))
		bundle, err := os.ReadFile(filepath.Join(reader.directory, path))
		if err != nil {
			return nil, err
		}
		var indexes []int64
		first := len(entries)
		for len(bundle) > 0 {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("%s ends within an entry", path)
			}
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			indexes = append(indexes, tlog.StoredHashIndex(0, int64(len(entries))))
			entries = append(entries, bundle[2:length])
			bundle = bundle[length:]
		}
		if int64(len(indexes)) != width {
			return nil, fmt.Errorf("%s has %d entries where %d belong", path, len(indexes), width)
		}
		stored, err := hashes.ReadHashes(indexes)
		if err != nil {
			return nil, err
		}
		for i, hash := range stored {
			if tlog.RecordHash(entries[first+i]) != hash {
				return nil, fmt.Errorf("%s: entry %d is not what was signed", path, first+i)
			}
		}
	}
	return entries, nil
}

// checkInclusion has the reference make a proof for entries all over the tree, and check it.
func checkInclusion(tree tlog.Tree, reader *files, entries [][]byte) (int, error) {
	hashes := tlog.TileHashReader(tree, reader)
	step := int64(len(entries)/50 + 1)
	count := 0
	for index := int64(0); index < tree.N; index += step {
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return count, err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entries[index])); err != nil {
			return count, fmt.Errorf("record %d: %w", index, err)
		}
		count++
	}
	return count, nil
}

// checkOlder shows that the tree begins with each tree that was signed before.
func checkOlder(tree tlog.Tree, reader *files, older string, log note.Verifier) (int, error) {
	if older == "" {
		return 0, nil
	}
	names, err := filepath.Glob(filepath.Join(older, "*"))
	if err != nil {
		return 0, err
	}
	hashes := tlog.TileHashReader(tree, reader)
	for _, name := range names {
		old, err := readCheckpoint(name, log, nil)
		if err != nil {
			return 0, err
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	return len(names), nil
}

type proofFile struct {
	Format     string `json:"format"`
	Checkpoint string `json:"checkpoint"`
	Records    []struct {
		Index int64    `json:"index"`
		Entry []byte   `json:"entry"`
		Proof [][]byte `json:"proof"`
	} `json:"records"`
}

// checkProofs checks the inclusion proofs that the journal's own program made.
func checkProofs(directory string, log, witness note.Verifier) (int, error) {
	if directory == "" {
		return 0, nil
	}
	names, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		return 0, err
	}
	count := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return count, err
		}
		var file proofFile
		if err := json.Unmarshal(text, &file); err != nil {
			return count, fmt.Errorf("%s: %w", name, err)
		}
		tree, err := parseCheckpoint([]byte(file.Checkpoint), log, witness)
		if err != nil {
			return count, fmt.Errorf("%s: %w", name, err)
		}
		for _, record := range file.Records {
			proof := tlog.RecordProof{}
			for _, hash := range record.Proof {
				var step tlog.Hash
				copy(step[:], hash)
				proof = append(proof, step)
			}
			leaf := tlog.RecordHash(record.Entry)
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, record.Index, leaf); err != nil {
				return count, fmt.Errorf("%s: record %d: %w", name, record.Index, err)
			}
			if tlog.CheckRecord(proof, tree.N, tree.Hash, record.Index, tlog.RecordHash(append(record.Entry, 0))) == nil {
				return count, fmt.Errorf("%s: record %d: another record is proven as well", name, record.Index)
			}
			count++
		}
	}
	if count == 0 {
		return 0, fmt.Errorf("%s holds no proof", directory)
	}
	return count, nil
}

// tamper changes one byte of each tile in turn: the audit must refuse it.
func tamper(tree tlog.Tree, directory string, tiles []string) (int, error) {
	for place, path := range tiles {
		changed := &files{directory: directory, change: path, at: place * 7}
		if _, err := checkEntries(tree, changed); err == nil {
			return place, fmt.Errorf("%s was changed, and nobody noticed", path)
		}
		if len(tiles) > 40 && place > 20 {
			return place + 1, nil
		}
	}
	return len(tiles), nil
}

// cosigner verifies C2SP tlog-cosignature v1, which golang.org/x/mod does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newCosigner(text string) (note.Verifier, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not an Ed25519 key for cosignatures")
	}
	sum := sha256.Sum256(bytes.Join([][]byte{[]byte(parts[0]), key}, []byte("\n")))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return nil, errors.New("its id is not its own")
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), key[1:]}, nil
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(c.key, []byte(signed), signature[8:])
}
