#!/bin/sh
# Every way to lie about where a key lives, and the test that holds it: each is red when its check is taken out. Counted, so
# that none goes missing unnoticed; `make test` has run them all when it says so.
set -eu
cd "$(dirname "$0")/.."
cases() {
    cat <<'CASES'
EK certificate of another TPM|agent/issuance/src/residency/tests/attested.rs|the_ek_certificate_counts
EK certificate of another TPM, from a real one|tests/contract/attest.rs|evidence_serves_once_and_here_alone
EK certificate that chains to an untrusted root|agent/issuance/src/residency/tests/attested.rs|the_ek_certificate_counts
EK certificate of a maker that the CA does not believe|tests/end-to-end/residency.rs|a_key_is_certified_only_where_it_is_proven_to_live
EK certificate that has expired|agent/issuance/src/residency/tests/attested.rs|the_ek_certificate_counts
EK certificate that is a CA's or no EK's|agent/issuance/src/residency/tests/attested.rs|the_ek_certificate_counts
no EK certificate, and none is accepted|tests/contract/attest.rs|a_tpm_without_a_certificate_never_passes_in_silence
AK that is not in this EK's TPM|tests/end-to-end/residency/activation.rs|a_lying_station_gets_nothing
AK of another hierarchy|agent/issuance/src/residency/tests/attested.rs|each_part_of_the_statement_counts
credential for another AK's name, or another TPM|tests/contract/attest.rs|only_one_tpm_releases_a_credential
TPM2_Certify of another key|agent/issuance/src/residency/tests/attested.rs|each_part_of_the_statement_counts
TPM2_Certify of another key of the same TPM|tests/contract/attest.rs|a_tpm_proves_where_its_key_lives
TPM2_Certify with an old nonce|tests/contract/attest.rs|evidence_serves_once_and_here_alone
TPM2_Certify with an old nonce, at the CA|tests/end-to-end/residency/activation.rs|borrowed_evidence_is_refused
wrong magic, wrong type, another signer|agent/issuance/src/residency/tests/attested.rs|each_part_of_the_statement_counts
name off by any one bit|agent/issuance/src/residency/tests.rs|the_name_is_the_digest
name off by any one bit, in the statement|agent/issuance/src/residency/tests/attested.rs|each_part_of_the_statement_counts
fixedTPM clear, and each other attribute of EK, AK and key|agent/issuance/src/residency/tests/attested.rs|each_attribute_of_each_key_counts
key imported into a TPM|tests/contract/imported.rs|a_key_that_may_leave_its_tpm_is_refused
software key that claims a TPM|agent/issuance/src/residency/tests/attested.rs|what_attests_nothing_is_refused
evidence of another device|tests/contract/attest.rs|evidence_serves_once_and_here_alone
evidence of another device, at the CA|tests/end-to-end/residency/activation.rs|borrowed_evidence_is_refused
evidence mixed from two issuances|tests/contract/attest.rs|a_challenge_binds_all_three
evidence mixed from two issuances, at the CA|tests/end-to-end/residency/activation.rs|borrowed_evidence_is_refused
forged transcript where the CA makes the credential|tests/end-to-end/residency/activation.rs|a_lying_station_gets_nothing
any byte of what the AK signed|agent/issuance/src/residency/tests/attested.rs|any_changed_byte_is_survived
token key that is extractable, or was put there by C_CreateObject|tests/contract/imported.rs|a_key_that_may_leave_its_token_is_refused
each statement of a token turned round|agent/issuance/src/residency/tests.rs|each_statement_of_a_token_counts
another TPM behind the fixture between two steps|tests/contract/faults/swap.rs|each_call_refuses_another_tpm
another TPM behind a healed link|tests/contract/faults/swap.rs|a_healed_connection_refuses_another_tpm
any answer altered between station and TPM|tests/contract/faults/guarded.rs|an_altered_answer_is_noticed_as_such
the session's beginning altered|tests/contract/faults/guarded.rs|an_altered_beginning_is_noticed
a saved key altered|tests/contract/faults/guarded.rs|an_altered_saved_key_serves_nobody
CASES
}
count=0
missing=0
tests=$(cases | cut -d'|' -f2,3 | sort -u | wc -l)
while IFS='|' read -r what file name; do
    count=$((count + 1))
    if ! grep -q "fn $name(" "$file"; then
        echo "negative: nothing holds \"$what\": $name is not in $file" >&2
        missing=$((missing + 1))
    fi
done <<LIST
$(cases)
LIST
[ "$missing" -eq 0 ] || exit 1
echo "negative: $count ways to lie about where a key lives, held by $tests tests: none got through"
