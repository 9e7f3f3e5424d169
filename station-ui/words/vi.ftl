# Những gì trang nói, bằng tiếng Việt.

language = Tiếng Việt

## Khung trang.

station = Trạm
scan = Quét thiết bị
start = Bắt đầu
lot = Lô
choose-lot = Chọn lô
no-lot = Không có lô nào đang mở
    .next = Yêu cầu mở một lô.
lot-progress = Xong { $completed } / { $quantity }
lot-choice = { $lot }: xong { $completed } / { $quantity }
fixture = Đồ gá
any-fixture = Tự động
chosen = Lần quét tới
fixtures = Đồ gá
no-fixtures = Trạm này không có đồ gá. Báo quản trị viên.
live = Đã kết nối
reconnecting = Đang kết nối lại
choose-language = Ngôn ngữ
change = Đổi
sound = Âm thanh
on = bật
off = tắt
no-script = Trình duyệt này tắt script: màn hình tự làm mới mỗi mười giây.

## Một ô: tiêu đề và việc cần làm.

ready = Sẵn sàng
    .next = Đặt thiết bị vào và quét.
not-ready = Chưa sẵn sàng
    .next = Chờ: trạm đã dừng.
working = Đang làm
    .next = Để yên thiết bị.
ship-it = Xuất hàng
    .next = Lấy ra và xuất hàng.
waits = Chờ CA
    .next = Đặt lên kệ. Quét lại khi CA trở lại.
scan-again = Quét lại
    .next = Đã có chứng thư: đặt thiết bị vào và quét lại.
stopped = Đã dừng
    .next = Quét lại; nếu lại dừng, để riêng ra.
set-aside = Để riêng ra
    .next = Để riêng cho giám sát.
unknown = Chưa rõ
    .next = Màn hình này cũ hơn trạm: gọi quản trị viên.
not-current = Đang kết nối lại
    .next = Chờ. Không xuất hàng theo màn hình này.
last-known = Trước đó: { $headline }
acknowledge = Đã hiểu
    .label = Đã hiểu: { $fixture }, { $headline }
support = Cho hỗ trợ: { $reason }
step-of = Bước { $step } / { $steps }
preparing = Đang bắt đầu
took-seconds = { $seconds } giây
lasting = đã

## Các bước.

step-requested = Nhận dạng thiết bị
step-device-identified = Tìm khóa của thiết bị
step-key-generation-started = Tạo khóa
step-key-generated = Chứng minh nơi giữ khóa
step-residency-proven = Ký yêu cầu
step-request-signed = Xếp hàng chờ CA
step-submitted = CA đang ký
step-issued = Kiểm tra chứng thư
step-write-started = Ghi chứng thư
step-written = Đọc lại chứng thư
step-verified = Hoàn tất

## Vì sao thiết bị dừng, và cần làm gì.

fault-DEVICE_ABSENT = Không có thiết bị nào trả lời trong đồ gá.
    .next = Đặt thiết bị vào và quét lại.
fault-LINK_LOST = Thiết bị ngừng trả lời.
    .next = Đặt lại cho chắc và quét lại.
fault-DEADLINE_EXCEEDED = Thiết bị không trả lời kịp.
    .next = Đặt lại cho chắc và quét lại.
fault-WORKER_CRASHED = Trình điều khiển thiết bị bị ngắt.
    .next = Đặt lại thiết bị và quét lại.
fault-DEVICE_BUSY = Thiết bị vẫn bận.
    .next = Chờ một phút rồi quét lại.
fault-SESSION_LOST = Thiết bị mất phiên làm việc.
    .next = Chờ một phút rồi quét lại.
fault-PIN_REJECTED = Thiết bị từ chối PIN. Không thử lại.
    .next = Gọi quản trị viên.
fault-PIN_LOCKED = PIN của thiết bị bị khóa hoặc còn một lần thử.
    .next = Gọi quản trị viên.
fault-DICTIONARY_ATTACK_LOCKOUT = TPM bị khóa sau các lần xác thực sai.
    .next = Giữ nguồn mười phút rồi quét lại.
fault-STORAGE_FULL = Bộ nhớ thiết bị đã đầy.
    .next = Để riêng ra.
fault-LOCATION_OCCUPIED = Thiết bị đã có nội dung ở vị trí này.
    .next = Để riêng cho giám sát.
    .supervisor = Trạm chỉ gỡ những gì chính nó đã tạo. Cho xóa thiết bị hoặc gỡ khóa của nó rồi quét lại; hoặc loại bỏ.
fault-NOT_FOUND = Nội dung đã ghi vào thiết bị không còn.
    .next = Để riêng cho giám sát.
fault-NOT_SAME_DEVICE = Nhãn và thiết bị không khớp: một trong hai đã được quét với cái khác trước đây.
    .next = Để riêng cho giám sát.
    .supervisor = Quét nhầm nhãn? Cho tiếp tục rồi quét đúng thiết bị. Bo mạch hoặc nhãn đã đổi hẳn? Xác nhận phần cứng này từ nay là thiết bị này.
fault-UNSUPPORTED = Thiết bị không làm được điều hồ sơ yêu cầu.
    .next = Để riêng cho giám sát.
fault-HARDWARE_FAILURE = Thiết bị báo bị hỏng.
    .next = Để riêng ra.
fault-MISMATCH = Các trả lời của thiết bị không khớp nhau.
    .next = Để riêng cho giám sát.
fault-RESIDENCY_UNPROVEN = Chưa chứng minh được khóa nằm trong thiết bị.
    .next = Để riêng cho giám sát.
fault-MISCONFIGURED = Đồ gá được cài đặt sai.
    .next = Gọi quản trị viên.
fault-CERTIFICATE_REJECTED = Chứng thư của CA không đúng với yêu cầu.
    .next = Để riêng thiết bị và gọi quản trị viên.
fault-REQUEST_REFUSED = CA từ chối thiết bị này.
    .next = Để riêng cho giám sát.
fault-FILE_WRITE_FAILED = Trạm không ghi được tệp của thiết bị.
    .next = Gọi quản trị viên.
fault-JOURNAL_FAILED = Trạm không ghi nhận được.
    .next = Gọi quản trị viên.
fault-ANSWER_TOO_LARGE = Trả lời của CA quá lớn.
    .next = Để riêng cho giám sát.
fault-ANSWER_ALTERED = Một trả lời của thiết bị đã bị sửa đổi trên đường đi.
    .next = Để riêng cho giám sát.
fault-IN_DOUBT = Có thể CA đã cấp một chứng thư chưa đến nơi.
    .next = Để riêng cho giám sát.
fault-CANCELLED = Giám sát đã hủy.
    .next = Quét lại thiết bị để bắt đầu lại.
fault-SCRAPPED = Giám sát đã loại bỏ thiết bị này.
    .next = Không giao hàng: để vào hàng phế.

## Những gì liên quan đến mọi đồ gá.

page-lost = Màn hình này mất kết nối: đang kết nối lại
    .next = Nội dung có thể đã cũ. Chờ, hoặc gọi quản trị viên nếu kéo dài.
searching = Đang tìm trạm
    .next = Chờ. Nếu kéo dài, gọi quản trị viên.
station-lost = Trạm không trả lời: đang kết nối lại
    .next = Chờ và để yên thiết bị. Những gì đã bắt đầu không bị mất.
halted = Trạm đã dừng
    .next = Để yên thiết bị và gọi quản trị viên.
authority-away = { $waiting ->
        [0] CA vắng mặt: không có thiết bị chờ
       *[other] CA vắng mặt: { $waiting } thiết bị chờ
    }
    .next = Cứ quét tiếp. Đặt thiết bị chờ lên kệ; quét lại khi CA trở lại.
    .full = Không bắt đầu thiết bị mới: hàng chờ đã đầy. Đặt thiết bị chờ lên kệ; quét lại khi CA trở lại.
drain-seconds = Khi CA trở lại, xong trong khoảng { $seconds } giây.
drain-minutes = Khi CA trở lại, xong trong khoảng { $minutes } phút.

## Kết quả của một lần quét.

nothing = (trống)
unsent = Không ai trả lời: quét lại khi màn hình đã kết nối
started = Đã bắt đầu
started-in = Đã bắt đầu ở { $fixture }
already = { $headline }: thiết bị này đã được bắt đầu trước đó
fixture-chosen = Đã chọn { $fixture }: hãy quét thiết bị
fixture-unknown = Trạm này không có đồ gá { $fixture }: chọn một ô
lot-missing = Chưa bắt đầu: không có lô nào đang mở. Yêu cầu mở lô rồi quét lại
lot-not-chosen = Chưa bắt đầu: chọn lô rồi quét lại
not-connected = Chưa bắt đầu: trạm không trả lời. Quét lại khi màn hình đã kết nối
form-expired = Chưa làm: màn hình vừa khởi động lại. Quét lại
acknowledge-first = Chưa bắt đầu: { $fixture } có thiết bị cần xử lý. Chạm “Đã hiểu” ở đó hoặc quét đồ gá đó, rồi quét lại
acknowledged = { $fixture }: đã hiểu

## Thẻ.

badge-empty = Thẻ trống: quét lại
badge-wrong = Đây không phải thẻ của chuyền này: 1 đến 64 chữ và số
signed-in = Đã đăng nhập: { $badge }
sign-out = Đăng xuất
sign-in-first = Chưa bắt đầu: quét thẻ của bạn trước, rồi quét thiết bị
operator = Người vận hành
scan-badge = Quét thẻ của bạn

## Vì sao trạm không bắt đầu thiết bị.

refused-NO_DEVICE = Chưa bắt đầu: không đồ gá trống nào có thiết bị mới
    .next = Đặt thiết bị vào đồ gá và quét lại.
refused-FIXTURE_AMBIGUOUS = Đồ gá nào? { $fixtures } đều có thiết bị mới
    .next = Quét mã đồ gá hoặc chạm vào ô của nó, rồi quét lại thiết bị.
refused-FIXTURE_BUSY = Chưa bắt đầu: { $fixture } đang làm
    .next = Chờ nó xong, hoặc dùng đồ gá khác.
refused-UNKNOWN_FIXTURE = Chưa bắt đầu: trạm này không có đồ gá đó
    .next = Chạm một ô rồi quét lại.
refused-LOT_CLOSED = Chưa bắt đầu: lô { $lot } đã đóng
    .next = Chọn lô khác, hoặc yêu cầu mở lô.
refused-LOT_USED_UP = Chưa bắt đầu: lô { $lot } đã đủ, đã bắt đầu { $started } / { $quantity } thiết bị
    .next = Trả thiết bị này lại: nó không thuộc lô này.
refused-WRONG_PROFILE = Chưa bắt đầu: lô { $lot } dùng hồ sơ { $profile }, không phải { $asked }
    .next = Chọn đúng lô rồi quét lại.
refused-COMMON_NAME_TAKEN = Chưa bắt đầu: { $device_serial } đã được cấp chứng thư trước đây, trong lô { $lot }
    .next = Để riêng thiết bị này: có thể nhãn bị trùng. Giám sát có thể cho cấp lại.
refused-REQUEST_ID_REUSED = Chưa bắt đầu: yêu cầu này đã có với nội dung khác
    .next = Quét lại.
refused-QUEUE_FULL = Chưa bắt đầu: hàng chờ đã đầy
    .next = Chờ CA trở lại rồi quét lại.
refused-CLOCK_WRONG = Chưa bắt đầu: đồng hồ của trạm sai
    .next = Gọi quản trị viên.
refused-STATION_HALTED = Chưa bắt đầu: trạm đã dừng
    .next = Gọi quản trị viên.
refused-JOURNAL_FAILED = Chưa bắt đầu: trạm không ghi nhận được
    .next = Gọi quản trị viên.
refused-ROWS_DAMAGED = Chưa bắt đầu: phải khởi động lại trạm
    .next = Gọi quản trị viên.
refused-ROLE_NOT_ALLOWED = Chưa làm: màn hình này không được phép
    .next = Gọi quản trị viên.
refused-UNKNOWN_CALLER = Chưa làm: trạm không biết màn hình này
    .next = Gọi quản trị viên.
refused-device_serial = Chưa bắt đầu: đây không phải số sê-ri thiết bị của lô này
    .next = Quét mã vạch của chính thiết bị.
refused-lot = Chưa bắt đầu: trạm không biết lô này
    .next = Chọn lô rồi quét lại.
refused-profile = Chưa bắt đầu: trạm này không làm hồ sơ đó
    .next = Gọi quản trị viên.

## Theo loại trả lời. Tiếp theo là lời của trạm.

code-invalid = Chưa bắt đầu: trạm không chấp nhận
code-not-found = Chưa bắt đầu: trạm không biết
code-exists = Chưa bắt đầu: đã có, với nội dung khác
code-precondition = Chưa bắt đầu: phải làm việc khác trước
code-aborted = Chưa bắt đầu: có việc khác xen vào. Quét lại
code-exhausted = Chưa bắt đầu: hết chỗ. Thử lại sau
code-denied = Chưa bắt đầu: màn hình này không được phép. Gọi quản trị viên
code-unimplemented = Chưa bắt đầu: màn hình và trạm không khớp. Gọi quản trị viên
code-internal = Chưa bắt đầu: trạm có lỗi. Gọi quản trị viên
code-unavailable = Trạm không trả lời. Quét lại khi màn hình đã kết nối
code-late = Trạm không trả lời kịp. Quét lại

## Các trang khác.

pages = Các trang
page-board = Bảng
page-lots = Lô
page-find = Tìm
page-station = Trạm
page-golden = Kiểm tra đầu ca
device = Thiết bị
state = Trạng thái
not-available = Trạm không trả lời: không có gì để hiển thị
    .next = Chờ rồi mở lại trang này.
as-of = Lúc { $time } UTC
lots-started = Đã bắt đầu
lots-open = mở
lots-closed = đóng
lots-yield = Tỷ lệ đạt
lots-stuck = Kẹt
lots-none = Chưa có lô nào được mở.
find-what = Số sê-ri thiết bị, CN hoặc số sê-ri chứng thư
find-none = Không tìm thấy { $wanted }
    .next = Quét mã vạch của thiết bị, hoặc nhập CN hay số sê-ri chứng thư.
find-some = Tìm thấy { $count }
story = Diễn biến của { $device_serial }
common-name = CN
profile = Hồ sơ
key = Khóa
certificate-serial = Số sê-ri chứng thư
certificate-place = Chứng thư ở
scanned-by = Người quét
asked-by = Qua
supersedes = Thay cho
downloads = Tải xuống
download-certificate = Chứng thư
download-chain = Chứng thư kèm chuỗi
download-records = Bản ghi kèm bằng chứng
download-proof = Bằng chứng cho kiểm toán
steps = Diễn biến
time = Thời gian
step = Bước
station-link = Kết nối với CA
station-link-up = CA trả lời
station-link-down = CA không trả lời
station-link-unknown = Chưa hỏi
station-since = từ { $time }
station-waiting = Chờ CA
station-of-room = { $length } / { $bound } chỗ
station-doubt = { $count } còn nghi vấn
station-graph = Chờ CA, một giờ qua
station-fixtures = Phần cứng
station-idle = rảnh
station-busy = đang làm
station-disk = Đĩa
station-disk-free = Còn trống { $free } GB / { $size } GB
station-clock = Đồng hồ
station-clock-same = Đồng hồ của trạm khớp với máy của màn hình này
station-clock-differs = Đồng hồ của trạm lệch { $seconds } giây so với máy của màn hình này
station-troubles = Dành cho quản trị viên
station-certificates = Chứng thư sắp hết hạn
station-days = sau { $days } ngày
needs-server = Trạm, với vai trò máy chủ
needs-client = Trạm, đối với CA
needs-issuer = Bên cấp chứng thư thiết bị
needs-root = Gốc của chứng thư thiết bị

## Kiểm tra đầu ca bằng thiết bị chuẩn.

golden-due = Cần kiểm tra đầu ca
golden-good = Đã kiểm tra
golden-bad = Kiểm tra không đạt
golden-scan = Quét thiết bị chuẩn
golden-check = Kiểm tra
golden-unchecked = Trạm này chưa được kiểm tra cho ca này
    .next = Kiểm tra bằng thiết bị chuẩn trước thiết bị đầu tiên của ca.
golden-checked = Trạm này đã được kiểm tra cho ca này
    .next = Tiếp tục quét trên bảng.
golden-failed = Kiểm tra không đạt: không giao hàng
    .next = Đặt lại thiết bị chuẩn và kiểm tra lần nữa. Nếu vẫn không đạt, gọi quản trị viên.
golden-not-done = Chưa kiểm tra được
golden-when = { $time } UTC, với { $device_serial } trong { $fixture }
golden-by = bởi { $operator }
golden-how = Cách kiểm tra
golden-step-1 = Đặt thiết bị chuẩn vào đồ gá.
golden-step-2 = Chạm Tự động, hoặc đồ gá đang giữ nó.
golden-step-3 = Quét nó. Nó không chiếm chỗ trong lô nào.

## Quyết định của giám sát.

supervise = Giám sát
act = Cần làm gì
act-release = Cho tiếp tục
act-cancel = Hủy
act-rework = Cấp lại, giữ khóa cũ
act-rework-key = Cấp lại, khóa mới
act-hardware = Phần cứng này từ nay là thiết bị này
act-swap = Đã đổi bo mạch hoặc nhãn: cấp cho phần cứng khác làm thiết bị này
act-scrap = Loại bỏ thiết bị: thu hồi và trả lại chỗ trong lô
reason = Lý do
reason-repaired = Lỗi đã được sửa
reason-label = Nhãn sai hoặc không đọc được
reason-lot = Sai lô
reason-damaged = Thiết bị bị hỏng
reason-returned = Thiết bị bị trả lại
reason-test = Đây là thử nghiệm
reason-board = Bo mạch đã được thay
badge-first = 1. Quét thẻ giám sát
pin-then = 2. Nhập PIN trên bàn phím số
pin = PIN
pin-digits = Đã nhập { $count } chữ số
pin-clear = Xóa
decide = 3. Xác nhận
decided = Xong: { $act }
badge-missing = Chưa làm: quét thẻ giám sát trước
refused-SUPERVISOR_WRONG = Chưa làm: thẻ hoặc PIN sai
    .next = Quét thẻ và nhập lại PIN.
refused-SUPERVISOR_LOCKED = Chưa làm: thẻ này bị khóa sau quá nhiều PIN sai
    .next = Gọi quản trị viên.
refused-SUPERVISOR_WAIT = Chưa làm: quá nhiều PIN sai
    .next = Chờ vài phút rồi thử lại.
refused-SUPERVISOR_UNCOUNTED = Chưa làm: trạm không ghi nhận được
    .next = Gọi quản trị viên.
refused-NO_SUPERVISORS = Chưa làm: trạm này không biết giám sát nào
    .next = Gọi quản trị viên.
refused-NOT_QUARANTINED = Chưa làm: nó không còn để riêng
    .next = Quét thiết bị.
refused-ALREADY_ENDED = Chưa làm: nó đã xong hoặc đã hủy
    .next = Không còn gì để làm.
refused-NOT_REWORKABLE = Chưa làm: không có chứng thư để thay
    .next = Quét thiết bị.
refused-ALREADY_SUPERSEDED = Chưa làm: đã có cái mới hơn thay thế
    .next = Tìm thiết bị và mở cái mới nhất.
refused-NEW_KEY_UNSUPPORTED = Chưa làm: thiết bị này chỉ giữ một khóa
    .next = Cấp lại với khóa cũ.
refused-DEVICE_SCRAPPED = Chưa làm: thiết bị này đã bị loại bỏ
    .next = Để vào hàng phế.
refused-NOT_HARDWARE = Chưa làm: nó không bị để riêng vì phần cứng
    .next = Hủy nó, rồi cấp cho phần cứng khác làm thiết bị này.
refused-OTHER_STATION = Chưa làm: trạm khác đã cấp chứng thư của thiết bị này
    .next = Loại bỏ tại trạm đó.
refused-AUTHORITY_AWAY = Chưa làm: CA vắng mặt
    .next = Thử lại khi CA trở lại.
refused-AUTHORITY_REFUSES_STATION = Chưa làm: CA không cho trạm này làm
    .next = Gọi quản trị viên.
refused-CHECKPOINT_DUE = Chưa có bằng chứng: điểm kiểm tra tiếp theo của trạm sẽ có
    .next = Thử lại sau một phút.
refused-NOT_ISSUED = Không có bằng chứng: chưa có chứng thư
    .next = Thử lại khi thiết bị xong.
refused-PROOF_TOO_LARGE = Bằng chứng quá lớn cho màn hình này
    .next = Gọi quản trị viên.
refused-LOG_UNREADABLE = Không có bằng chứng: không đọc được nhật ký của trạm
    .next = Gọi quản trị viên.

## Những gì đã ghi, từng bước.

record-requested = Đã yêu cầu
record-device-identified = Đã nhận dạng thiết bị
record-key-generation-started = Bắt đầu tạo khóa
record-key-generated = Đã tạo khóa
record-residency-proven = Chứng minh khóa nằm trong thiết bị
record-request-signed = Đã ký yêu cầu
record-submitted = Đã gửi CA
record-send-started = Bắt đầu gửi
record-not-taken = CA không nhận
record-in-doubt = Còn nghi vấn
record-resubmitted = Gửi lại
record-surplus = Chứng thư thừa
record-sealed = CA đã niêm phong cho thiết bị
record-issued = Đã cấp chứng thư
record-refused = CA từ chối
record-write-started = Bắt đầu ghi
record-written = Đã ghi
record-verified = Đã kiểm tra trên thiết bị
record-completed = Hoàn tất
record-failed = Đã dừng
record-quarantined = Để riêng
record-confirmed = Đã xác nhận với CA
record-device-checked = Đã đối chiếu với nhật ký
record-resumed = Quét lại
record-released = Giám sát cho tiếp tục
record-cancelled = Giám sát đã hủy
