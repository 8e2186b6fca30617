# Runs ../conformance.json.
use v5.24;
use warnings;
use FindBin;
use JSON::PP;
require "$FindBin::Bin/example.pl";

binmode STDOUT, ':encoding(UTF-8)';
my $json = JSON::PP->new->canonical->allow_nonref->utf8(0);
open my $file, '<:encoding(UTF-8)', "$FindBin::Bin/../conformance.json" or die $!;
my $suite = $json->decode(do { local $/; <$file> });
my %db    = map { $_ => FlowSignal::connect_to() } qw(first second);
$_->{PrintWarn} = 0 for values %db;

# A value as text. An array becomes a literal: DBD::Pg takes [] for '{}' only with a type.
sub text {
    my ($value) = @_;
    return ref $value eq 'ARRAY' ? '{' . join(',', map { defined ? '"' . s/(["\\])/\\$1/gr . '"' : 'NULL' } @$value) . '}'
        : JSON::PP::is_bool($value) ? ($value ? 'true' : 'false')
        :                             $value;
}

sub rows {
    my ($step) = @_;
    my $db = $db{ $step->{on} // 'first' };
    my ($sql, @values) = $step->{sql};
    if ($step->{call}) {
        my $types   = $suite->{functions}{ $step->{call} };
        my @names   = sort keys $step->{args}->%*;
        my $named   = join ', ', map { "$_ => CAST(? AS $types->{$_})" } @names;
        my $columns = join ', ', map { "CAST($_ AS text)" } ($step->{columns} // ['1'])->@*;
        $sql    = "SELECT $columns FROM flow_signal_v1.$step->{call}($named)";
        @values = map { text($step->{args}{$_}) } @names;
    }
    my $statement = $db->prepare($sql);
    $statement->execute(@values);
    return $statement->{NUM_OF_FIELDS} ? $statement->fetchall_arrayref : [];
}

sub problem {
    my ($step, $known) = @_;
    my $rows = eval { rows($step) };
    my $state = $@ ? $db{ $step->{on} // 'first' }->state : '';
    return $state eq ($step->{error} // '') ? undef : $@ || 'no error' if $state || $step->{error};
    my $answer = 'the answer is ' . $json->encode($rows);
    my $wanted = $step->{rows} // $rows;
    return $answer if @$wanted != @$rows;
    my @got = map { @$_ } @$rows;
    for my $value (map { @$_ } @$wanted) {
        my $got = shift @got;
        if (defined $got && ($value // '') =~ /\A<.*>\z/s) { $known->{$value} = $got }
        elsif (!(defined $got ? defined $value && $got eq $value : !defined $value)) { return $answer }
    }
    return;
}

my $failed = 0;
for my $case ($suite->{cases}->@*) {
    my %known;
    @known{qw(<run> <other>)} = $db{first}->selectrow_array('SELECT gen_random_uuid(), gen_random_uuid()');
    my @ids = values %known;
    for my $step ($case->{steps}->@*) {
        my $text = $json->encode($step);
        $text =~ s/\Q$_\E/$known{$_}/g for keys %known;
        my $problem = problem($json->decode($text), \%known) // next;
        say "FAILED $case->{name}\n$text\n$problem";
        $failed++;
        last;
    }
    $_->do('ROLLBACK') for values %db;
    $db{first}->do('SELECT flow_signal_v1.remove_run(p_run_id => CAST(? AS uuid))', undef, $_) for @ids;
}
printf "%d of %d cases passed\n", $suite->{cases}->@* - $failed, scalar $suite->{cases}->@*;
$_->disconnect for values %db;
exit($failed ? 1 : 0);
